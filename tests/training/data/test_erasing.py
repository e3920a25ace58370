"""Random erasing: what is filled, how often, and with what."""

import numpy as np
import pytest

from training.data.erasing import erase

SIZE = (3, 40, 50)


def erased(probability: float, seed: int) -> np.ndarray:
    image = np.full(SIZE, 7, np.float32)
    erase(image, probability, np.random.default_rng(seed))
    return image


def test_a_rectangle_is_filled_with_normal_noise_in_every_channel() -> None:
    areas, ratios, noise = [], [], []
    for seed in range(400):
        image = erased(1.0, seed)
        changed = image != 7
        assert (changed == changed[0]).all()
        rows, columns = changed[0].any(axis=1), changed[0].any(axis=0)
        np.testing.assert_array_equal(changed[0], np.outer(rows, columns))
        for line in (rows, columns):
            assert np.diff(np.flatnonzero(line)).max(initial=1) == 1
        areas.append(changed[0].mean())
        ratios.append(rows.sum() / columns.sum())
        noise.append(image[changed])
    # The area is even over 0.02 to 1/3, so its mean is 0.177; rounding to pixels moves its ends.
    assert 0.015 < min(areas) < 0.04
    assert 0.31 < max(areas) < 0.35
    assert np.mean(areas) == pytest.approx(0.177, abs=0.015)
    assert 0.25 < min(ratios) < 0.36
    assert 2.7 < max(ratios) < 3.8
    assert np.concatenate(noise).mean() == pytest.approx(0, abs=0.01)
    assert np.concatenate(noise).std() == pytest.approx(1, abs=0.01)


def test_as_many_images_are_erased_as_the_probability_says() -> None:
    changed = [(erased(0.3, seed) != 7).any() for seed in range(1000)]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.045)
    assert not any((erased(0.0, seed) != 7).any() for seed in range(20))


def test_an_image_too_small_for_any_rectangle_stays() -> None:
    image = np.ones((3, 1, 1), np.float32)
    erase(image, 1.0, np.random.default_rng(1))
    assert (image == 1).all()
