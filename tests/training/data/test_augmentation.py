"""Crops move pixels as their numbers say, and never invent any."""

import numpy as np
import pytest

from training.data.augmentation import random_resized_crop, shift_and_flip, uniform_draws
from training.settings.train_config import TrainConfig

IMAGES = np.arange(2 * 5 * 5 * 3, dtype=np.uint8).reshape(2, 5, 5, 3)
CENTRE, KEEP, MIRROR = 0.5, 0.9, 0.1


def draws(*rows: tuple[float, float, float]) -> np.ndarray:
    return np.array(rows)


def test_the_middle_draw_changes_nothing() -> None:
    moved = shift_and_flip(IMAGES, draws((CENTRE, CENTRE, KEEP), (CENTRE, CENTRE, KEEP)), 2, 0.5)
    np.testing.assert_array_equal(moved, IMAGES)


def test_images_move_each_by_its_own_draw_and_zeros_come_in() -> None:
    moved = shift_and_flip(IMAGES, draws((0.0, CENTRE, KEEP), (CENTRE, 0.99, KEEP)), 1, 0.5)
    np.testing.assert_array_equal(moved[0, 1:], IMAGES[0, :-1])
    assert not moved[0, 0].any()
    np.testing.assert_array_equal(moved[1, :, :-1], IMAGES[1, :, 1:])
    assert not moved[1, :, -1].any()


def test_half_of_the_images_are_mirrored_or_the_share_that_is_set() -> None:
    numbers = draws((CENTRE, CENTRE, MIRROR), (CENTRE, CENTRE, KEEP))
    moved = shift_and_flip(IMAGES, numbers, 0, 0.5)
    np.testing.assert_array_equal(moved[0], IMAGES[0, :, ::-1])
    np.testing.assert_array_equal(moved[1], IMAGES[1])
    np.testing.assert_array_equal(shift_and_flip(IMAGES, numbers, 0, 0.0), IMAGES)


def test_draws_belong_to_the_image_and_not_to_how_many_there_are() -> None:
    few, many = uniform_draws((1, 2), 10), uniform_draws((1, 2), 1000)
    np.testing.assert_array_equal(few, many[:10])
    assert (uniform_draws((1, 3), 10) != few).all()


def crops(image: np.ndarray, count: int, **settings: object) -> list[np.ndarray]:
    config = TrainConfig.model_validate({"image_size": (8, 8), "color_jitter": 0.0} | settings)
    rng = np.random.default_rng(1)
    return [random_resized_crop(image, config, rng) for _ in range(count)]


def test_a_crop_of_one_colour_is_of_one_colour() -> None:
    grey = np.full((30, 50, 3), 90, np.uint8)
    found = crops(grey, 20, image_size=(8, 12))
    assert all(crop.shape == (8, 12, 3) and (crop == 90).all() for crop in found)


def test_jitter_stays_within_its_range() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    levels = [crop.mean() for crop in crops(grey, 100, color_jitter=0.4)]
    assert 59 <= min(levels) < 80
    assert 120 < max(levels) <= 141


def test_crops_cover_the_image() -> None:
    gradient = np.repeat(np.arange(100, dtype=np.uint8)[None, :, None], 60, 0).repeat(3, 2)
    levels = crops(gradient, 50)
    assert min(level.min() for level in levels) < 10
    assert max(level.max() for level in levels) > 90


def sides(crop: np.ndarray) -> tuple[float, float]:
    """Return height and width of what was cropped out of PLACES, by the levels at its ends."""
    rows, columns = crop[:, :, 0].mean(axis=1), crop[:, :, 1].mean(axis=0)
    return (rows[-1] - rows[0]) * 8 / 7, (columns[-1] - columns[0]) * 8 / 7


# Red is the row, green the column.
PLACES = np.stack([*np.indices((200, 250)), np.zeros((200, 250))], axis=2).astype(np.uint8)


def test_crops_have_areas_and_shapes_from_their_ranges() -> None:
    found = [sides(crop) for crop in crops(PLACES, 300, hflip=0.0)]
    areas = np.array([height * width / (200 * 250) for height, width in found])
    ratios = np.array([width / height for height, width in found])
    assert 0.07 < areas.min() < 0.12
    assert 0.85 < areas.max() < 1.02
    assert 0.72 < ratios.min() < 0.8
    assert 1.25 < ratios.max() < 1.38
    # Areas are even, but for large ones that stick out; logarithms of ratios are symmetric.
    assert 0.4 < areas.mean() < 0.54
    assert abs(np.log(ratios).mean()) < 0.05


def test_areas_and_shapes_can_be_set() -> None:
    settings = {"crop_scale": (0.18, 0.18), "crop_ratio": (2.25, 2.25)}
    for crop in crops(PLACES, 10, hflip=0.0, **settings):
        assert sides(crop) == (pytest.approx(63, abs=1.5), pytest.approx(142, abs=1.5))
        assert sides(crop[:, ::-1])[1] < 0
    mirrored = crops(PLACES, 10, hflip=1.0, **settings)
    assert all(sides(crop)[1] == pytest.approx(-142, abs=1.5) for crop in mirrored)
