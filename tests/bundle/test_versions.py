"""Which version is newer."""

import random

import pytest

from bundle.versions import age


@pytest.mark.parametrize(
    "versions",
    [
        ["1", "2", "9", "10"],
        ["1.9", "1.10", "2"],
        ["1-int8", "1", "2-bf16", "2-int8", "2"],
        ["1.0-rc1", "1.0-rc2", "1.0"],
        ["2025-12-31", "2026-01-02", "2026-01-10"],
    ],
)
def test_versions_are_sorted_from_old_to_new(versions: list[str]) -> None:
    mixed = random.Random(1).sample(versions, len(versions))
    assert sorted(mixed, key=age) == versions
