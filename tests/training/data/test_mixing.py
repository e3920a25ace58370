"""mixup and cutmix against formulas of the papers, and what is drawn for them."""

import numpy as np
import pytest

from training.data.mixing import Mixture, draw, mix
from training.settings.train_config import TrainConfig

CHANCE = np.random.default_rng(1)
IMAGES = CHANCE.normal(size=(4, 3, 6, 8)).astype(np.float32)
LABELS = np.array([2, 0, 1, 1], np.int32)
SIZE = (30, 40)
BOX = (slice(1, 4), slice(2, 8))


def mixtures(count: int, **settings: float) -> list[Mixture]:
    config = TrainConfig.model_validate(settings)
    return [draw(config, SIZE, np.random.default_rng((3, index))) for index in range(count)]


def test_mixup_is_a_weighted_mean_of_neighbours_and_of_their_labels() -> None:
    shares = (0.7, 0.1, 1.0, 0.5)
    images, targets = mix(IMAGES, LABELS, 3, map(Mixture, shares))
    for i, (share, other) in enumerate(zip(shares, (1, 0, 3, 2), strict=True)):
        np.testing.assert_allclose(
            images[i], share * IMAGES[i] + (1 - share) * IMAGES[other], rtol=1e-5, atol=1e-6
        )
    wanted = [[0.3, 0, 0.7], [0.1, 0, 0.9], [0, 1, 0], [0, 1, 0]]
    np.testing.assert_allclose(targets, wanted, rtol=1e-6)
    assert (images.dtype, targets.dtype) == (np.float32, np.float32)


def test_cutmix_takes_a_box_out_of_the_neighbour() -> None:
    before = IMAGES.copy()
    whole = Mixture(1.0)
    images, targets = mix(IMAGES, LABELS, 3, [Mixture(0.625, BOX), whole, whole, whole])
    inside = np.zeros((6, 8), bool)
    inside[1:4, 2:8] = True
    np.testing.assert_array_equal(images[0], np.where(inside, before[1], before[0]))
    np.testing.assert_array_equal(images[1:], before[1:])
    np.testing.assert_array_equal(targets[0], np.float32([0.375, 0, 0.625]))
    np.testing.assert_array_equal(IMAGES, before)


def test_images_that_are_not_mixed_are_themselves() -> None:
    images, targets = mix(IMAGES, LABELS, 3, [Mixture(1.0)] * 4)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(targets, np.eye(3, dtype=np.float32)[LABELS])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_of_mixup_are_from_the_beta_distribution(alpha: float) -> None:
    found = mixtures(4000, mixup=alpha)
    assert {one.box for one in found} == {None}
    shares = np.array([one.share for one in found])
    assert shares.mean() == pytest.approx(0.5, abs=0.02)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)
    fourth = ((shares - 0.5) ** 4).mean()
    assert fourth == pytest.approx(3 / (16 * (2 * alpha + 1) * (2 * alpha + 3)), rel=0.15)


def test_boxes_of_cutmix_are_those_of_the_paper_and_shares_what_they_leave() -> None:
    found = mixtures(4000, cutmix=1.0)
    height, width = SIZE
    for share, box in found:
        assert box is not None
        pixels = np.zeros(SIZE)
        pixels[box] = 1
        assert share == pytest.approx(1 - pixels.mean())
    # The paper's algorithm, drawn independently: sides by sqrt(1 - lambda), cut off at the border.
    rng = np.random.default_rng(9)
    part = np.sqrt(1 - rng.beta(1, 1, 100_000))
    y, x = rng.uniform(0, height, part.shape), rng.uniform(0, width, part.shape)
    tall = np.minimum(y + height * part / 2, height) - np.maximum(y - height * part / 2, 0)
    wide = np.minimum(x + width * part / 2, width) - np.maximum(x - width * part / 2, 0)
    wanted = 1 - tall * wide / (height * width)
    shares = np.array([one.share for one in found])
    # Whole pixels make boxes smaller by half a pixel to each side, of 30 and 40.
    quantiles = np.linspace(0.1, 0.9, 9)
    np.testing.assert_allclose(
        np.quantile(shares, quantiles), np.quantile(wanted, quantiles), atol=0.06
    )
    assert 0 <= shares.min() < 0.2
    rows = [(box[0].start + box[0].stop) / 2 for _, box in found if box]
    assert np.mean(rows) == pytest.approx(height / 2, abs=0.8)


def test_one_or_the_other_is_chosen_with_the_probabilities_that_are_set() -> None:
    both = mixtures(2000, mixup=1.0, cutmix=1.0)
    assert np.mean([one.box is None for one in both]) == pytest.approx(0.5, abs=0.035)
    rarely = mixtures(2000, mixup=1.0, cutmix=1.0, mixup_switch_prob=0.1)
    assert np.mean([one.box is None for one in rarely]) == pytest.approx(0.9, abs=0.025)
    some = mixtures(2000, mixup=1.0, mixup_prob=0.25)
    assert np.mean([one == Mixture(1.0) for one in some]) == pytest.approx(0.75, abs=0.03)
    alone = mixtures(50, cutmix=1.0, mixup_switch_prob=0.0)
    assert all(one.box for one in alone)
