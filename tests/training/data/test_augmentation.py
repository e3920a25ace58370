"""Augmentation moves pixels as its numbers say, and never invents any."""

import numpy as np

from training.data.augmentation import random_resized_crop, shift_and_flip, uniform_draws

IMAGES = np.arange(2 * 5 * 5 * 3, dtype=np.uint8).reshape(2, 5, 5, 3)
CENTRE, KEEP, MIRROR = 0.5, 0.9, 0.1


def draws(*rows: tuple[float, float, float]) -> np.ndarray:
    return np.array(rows)


def test_the_middle_draw_changes_nothing() -> None:
    moved = shift_and_flip(IMAGES, draws((CENTRE, CENTRE, KEEP), (CENTRE, CENTRE, KEEP)), 2)
    np.testing.assert_array_equal(moved, IMAGES)


def test_images_move_each_by_its_own_draw_and_zeros_come_in() -> None:
    moved = shift_and_flip(IMAGES, draws((0.0, CENTRE, KEEP), (CENTRE, 0.99, KEEP)), 1)
    np.testing.assert_array_equal(moved[0, 1:], IMAGES[0, :-1])
    assert not moved[0, 0].any()
    np.testing.assert_array_equal(moved[1, :, :-1], IMAGES[1, :, 1:])
    assert not moved[1, :, -1].any()


def test_half_of_the_images_are_mirrored() -> None:
    moved = shift_and_flip(IMAGES, draws((CENTRE, CENTRE, MIRROR), (CENTRE, CENTRE, KEEP)), 0)
    np.testing.assert_array_equal(moved[0], IMAGES[0, :, ::-1])
    np.testing.assert_array_equal(moved[1], IMAGES[1])


def test_draws_belong_to_the_image_and_not_to_how_many_there_are() -> None:
    few, many = uniform_draws((1, 2), 10), uniform_draws((1, 2), 1000)
    np.testing.assert_array_equal(few, many[:10])
    assert (uniform_draws((1, 3), 10) != few).all()


def test_a_crop_of_one_colour_is_of_one_colour() -> None:
    grey = np.full((30, 50, 3), 90, np.uint8)
    rng = np.random.default_rng(1)
    crops = [random_resized_crop(grey, (8, 12), 0.0, rng) for _ in range(20)]
    assert all(crop.shape == (8, 12, 3) and (crop == 90).all() for crop in crops)


def test_jitter_stays_within_its_range() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    rng = np.random.default_rng(1)
    levels = [random_resized_crop(grey, (8, 8), 0.4, rng).mean() for _ in range(100)]
    assert 59 <= min(levels) < 80
    assert 120 < max(levels) <= 141


def test_crops_cover_the_image() -> None:
    gradient = np.repeat(np.arange(100, dtype=np.uint8)[None, :, None], 60, 0).repeat(3, 2)
    rng = np.random.default_rng(1)
    levels = [random_resized_crop(gradient, (8, 8), 0.0, rng) for _ in range(50)]
    assert min(level.min() for level in levels) < 10
    assert max(level.max() for level in levels) > 90
