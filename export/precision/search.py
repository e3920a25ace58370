"""The search for how many layers must stay in float."""

from collections.abc import Callable


def fewest(most: int, suffices: Callable[[int], bool]) -> int | None:
    """Return the smallest of 0, 1, ..., most that suffices, None where `most` does not.

    Where a number suffices, larger ones are taken to suffice as well. So doubling finds a bound,
    and bisection the number, after about 2 * log2(number) trials.
    """
    failed, bound = -1, 0
    while not suffices(bound):
        if bound == most:
            return None
        failed, bound = bound, min(max(1, 2 * bound), most)
    while bound - failed > 1:
        middle = (failed + bound) // 2
        failed, bound = (failed, middle) if suffices(middle) else (middle, bound)
    return bound
