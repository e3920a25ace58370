"""The speed of an evaluation is that of its whole loop, after the batch that compiles."""

import pytest

from training.evaluation import images_per_second


@pytest.mark.parametrize(
    ("ends", "speed"),
    [
        ([10.0, 70.0, 71.0, 74.0], 2 * 32 / 4),  # the first minute compiled
        ([10.0, 70.0], 32 / 60),
        ([10.0], 0.0),  # a process without a share of the images
    ],
)
def test_the_first_batch_counts_only_if_it_is_alone(ends: list[float], speed: float) -> None:
    assert images_per_second(ends, 32) == pytest.approx(speed)
