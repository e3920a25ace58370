"""How many of other images chance leaves beyond the largest of those measured."""

from math import comb

import numpy as np
import pytest

from export.audit.exceedance import CONFIDENCE, FALSE_ALARM, most_beyond, share_beyond, told_beyond


def at_least(k: int, measured: int, others: int) -> float:
    """The probability that the k largest of all are among the others."""
    return comb(others, k) / comb(measured + others, k)


@pytest.mark.parametrize(("measured", "others"), [(300, 500), (12, 1000), (10_000, 10_000)])
def test_more_come_about_once_in_a_million(measured: int, others: int) -> None:
    most = most_beyond(measured, others)
    assert 0 < most < others
    assert at_least(most + 1, measured, others) <= FALSE_ALARM < at_least(most, measured, others)


def test_the_formula_is_what_happens() -> None:
    draws = np.random.default_rng(5).standard_cauchy((20_000, 50))  # without a variance
    beyond = (draws[:, 30:] > draws[:, :30].max(axis=1, keepdims=True)).sum(axis=1)
    for k in (1, 2, 3, 5):
        assert np.mean(beyond >= k) == pytest.approx(at_least(k, 30, 20), abs=0.01)


@pytest.mark.parametrize("measured", [5, 30, 310])
def test_a_larger_share_beyond_is_rarely_missed(measured: int) -> None:
    """Of a uniform distribution, whose share beyond the largest of some draws is known."""
    largest = np.random.default_rng(measured).random((20_000, measured)).max(axis=1)
    assert np.mean(1 - largest <= share_beyond(measured)) == pytest.approx(CONFIDENCE, abs=0.01)


def test_more_images_leave_a_smaller_share_beyond() -> None:
    shares = [share_beyond(measured) for measured in (1, 310, 2310, 12_010)]
    assert shares == pytest.approx([0.95, 0.0096, 0.0013, 0.00025], rel=0.02)
    assert "at most 0.13 % of other such images differ by more" in told_beyond(2310)


def test_few_images_say_nothing() -> None:
    assert [most_beyond(10, others) for others in (0, 1, 5)] == [0, 1, 5]
    assert most_beyond(10_000_000, 5) == 0
