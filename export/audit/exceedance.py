"""How many of other images may differ by more than all those that a tolerance was measured on."""

# That images which differ no more than those measured are said to.
FALSE_ALARM = 1e-6
CONFIDENCE = 0.95


def share_beyond(measured: int) -> float:
    """Return the share of all images that lies beyond the largest of `measured` ones, at most.

    With a probability of `CONFIDENCE`. If a larger share p is beyond, n images drawn alike miss it
    with a probability of (1 - p) ** n, whatever the distribution (Wilks 1941, "Determination of
    Sample Sizes for Setting Tolerance Limits", Annals of Mathematical Statistics 12(1), 91-96).
    About 3 / n.
    """
    return float(1 - (1 - CONFIDENCE) ** (1 / measured))


def told_beyond(measured: int) -> str:
    """Say the same to whoever reads what an export measured."""
    return (
        f"at most {100 * share_beyond(measured):.2g} % of other such images differ by more than "
        f"the largest of these ({CONFIDENCE:.0%} confidence)"
    )


def most_beyond(measured: int, others: int) -> int:
    """Return how many of `others` may lie beyond the largest of `measured` differences.

    If both are drawn alike, the k largest of all are among the m others with a probability of
    C(m, k) / C(n + m, k), n being `measured`, whatever the distribution (Gumbel and von Schelling
    1950, "The Distribution of the Number of Exceedances", Annals of Mathematical Statistics 21(2),
    247-262). More than the number returned come about by chance once in `FALSE_ALARM` at most; of
    very few others any number does.
    """
    probability, beyond = 1.0, 0
    while beyond < others:
        probability *= (others - beyond) / (measured + others - beyond)
        if probability <= FALSE_ALARM:
            break
        beyond += 1
    return beyond
