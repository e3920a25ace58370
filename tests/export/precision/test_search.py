"""The fewest that suffices, found in few trials."""

import pytest

from export.precision.search import fewest


@pytest.mark.parametrize("most", [0, 1, 2, 3, 77])
def test_the_fewest_is_found_in_few_trials(most: int) -> None:
    for wanted in range(most + 1):
        tried = list[int]()

        def suffices(count: int, wanted: int = wanted, tried: list[int] = tried) -> bool:
            tried.append(count)
            return count >= wanted

        assert fewest(most, suffices) == wanted
        assert len(set(tried)) == len(tried) <= 2 + 2 * wanted.bit_length()


def test_nothing_is_tried_beyond_what_is_allowed() -> None:
    tried = list[int]()
    assert fewest(6, lambda count: bool(tried.append(count))) is None
    assert tried == [0, 1, 2, 4, 6]
