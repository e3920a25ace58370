"""Who goes to the canary: the same ones each time, and as many as the share says."""

from hypothesis import given
from hypothesis import strategies as st

from serving.engine.rollout import on_canary

shares = st.floats(0, 1)


@given(st.text(), shares, shares)
def test_whoever_on_canary_stays_chosen_when_the_share_grows(
    request_id: str, one: float, other: float
) -> None:
    small, large = sorted((one, other))
    assert on_canary("net", request_id, small) <= on_canary("net", request_id, large)
    assert on_canary("net", request_id, small) == on_canary("net", request_id, small)


@given(st.text())
def test_none_and_all(request_id: str) -> None:
    assert not on_canary("net", request_id, 0.0)
    assert on_canary("net", request_id, 1.0)


def chosen(name: str, ids: list[str], share: float) -> set[int]:
    return {index for index, each in enumerate(ids) if on_canary(name, each, share)}


# Ids as callers have them: numbers in a row, of a fixed width, or with a common end.
ROWS = [
    [f"{number}" for number in range(20_000)],
    [f"{number:012d}" for number in range(20_000)],
    [f"user-{number}/session" for number in range(20_000)],
]


def test_the_share_is_what_it_says() -> None:
    for ids in ROWS:
        for share in (0.01, 0.1, 0.5):
            # Four times the standard deviation of a fair draw; the ids are fixed, and so is this.
            margin = 4 * (20_000 * share * (1 - share)) ** 0.5
            assert abs(len(chosen("net", ids, share)) - 20_000 * share) < margin


def test_each_model_has_other_callers_on_its_canary() -> None:
    both = chosen("net", ROWS[0], 0.1) & chosen("cat", ROWS[0], 0.1)
    assert 100 < len(both) < 300


def test_an_id_of_lone_surrogates_is_one_like_others() -> None:
    assert on_canary("net", "\udcff", 1.0)
