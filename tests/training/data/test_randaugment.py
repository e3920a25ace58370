"""RandAugment: each operation against NumPy, and which of them an image gets."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from training.data import randaugment
from training.data.randaugment import OPERATIONS, RandAugment
from training.settings.train_config import TrainConfig

CHANCE = np.random.default_rng(1)
# Even levels in one half, noise in the other, so that each filter has something to find.
NOISE = CHANCE.integers(30, 220, (20, 31, 3)).astype(np.uint8)
SMOOTH = np.stack([*np.indices((20, 31)) * 6, np.full((20, 31), 90)], axis=2).astype(np.uint8)
FILL = (10, 20, 30)
AMOUNTS = (-0.9, -0.35, 0.0, 0.5, 1.0)

Pixels = np.ndarray


def applied(name: str, pixels: Pixels, amount: float) -> Pixels:
    return np.asarray(OPERATIONS[name](Image.fromarray(pixels), amount, FILL))


def grey(pixels: Pixels) -> Pixels:
    """Luma of ITU-R 601-2, as Pillow documents its conversion to `L`."""
    return np.rint(pixels @ np.array([299, 587, 114]) / 1000)[:, :, None]


def smoothed(pixels: Pixels) -> Pixels:
    """A mean with five times the weight for the centre; the border stays as it is."""
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (3, 3), axis=(0, 1))
    inner = (windows.sum(axis=(3, 4)) + 4 * pixels[1:-1, 1:-1]) / 13
    whole = pixels.astype(float)
    whole[1:-1, 1:-1] = np.rint(inner)
    return whole


def warped(pixels: Pixels, matrix: tuple[float, ...]) -> Pixels:
    """Bilinear; (a, b, c, d, e, f) takes the place of an output pixel's centre to the input's."""
    a, b, c, d, e, f = matrix
    height, width, _ = pixels.shape
    y, x = np.indices((height, width)) + 0.5
    column, row = a * x + b * y + c, d * x + e * y + f
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    column, row = column - 0.5, row - 0.5
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)

    def at(rows: Pixels, columns: Pixels) -> Pixels:
        return pixels[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)].astype(float)

    right, below = (column - left)[:, :, None], (row - top)[:, :, None]
    upper = at(top, left) * (1 - right) + at(top, left + 1) * right
    lower = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    return np.where(inside[:, :, None], upper * (1 - below) + lower * below, FILL)


def rotation(pixels: Pixels, degrees: float) -> tuple[float, ...]:
    """Counter-clockwise around the centre; rows count downwards."""
    height, width, _ = pixels.shape
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    x, y = width / 2, height / 2
    return cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y


def stretched(pixels: Pixels) -> Pixels:
    low, high = pixels.min(axis=(0, 1)).astype(float), pixels.max(axis=(0, 1)).astype(float)
    return np.where(high > low, (pixels - low) * 255 / np.maximum(high - low, 1), pixels)


def equalized(pixels: Pixels) -> Pixels:
    """A channel's level becomes the share of pixels below it, in steps that the brightest lacks."""
    channels = []
    for channel in np.moveaxis(pixels, 2, 0):
        counts = np.bincount(channel.ravel(), minlength=256)
        present = counts[counts > 0]
        step = (channel.size - present[-1]) // 255
        if len(present) < 2 or not step:
            channels.append(channel)
            continue
        below = np.cumsum(counts) - counts
        channels.append(np.minimum((step // 2 + below) // step, 255)[channel])
    return np.stack(channels, axis=2)


def away_from(plain: Pixels, pixels: Pixels, amount: float) -> Pixels:
    return plain + (pixels - plain) * (1 + 0.9 * amount)


# Levels (height, width, 3) as int, amount -> levels, before they are rounded and clipped.
EXPECTED: dict[str, Callable[[Pixels, float], Pixels]] = {
    "auto_contrast": lambda x, _: stretched(x),
    "equalize": lambda x, _: equalized(x),
    "invert": lambda x, _: 255 - x,
    "posterize": lambda x, amount: x - x % 2 ** (4 + int(4 * abs(amount))),
    "solarize": lambda x, amount: np.where(x < 256 - int(256 * abs(amount)), x, 255 - x),
    "solarize_add": lambda x, amount: np.where(x < 128, x + int(110 * abs(amount)), x),
    "brightness": lambda x, amount: away_from(np.zeros_like(x), x, amount),
    "color": lambda x, amount: away_from(grey(x), x, amount),
    "contrast": lambda x, amount: away_from(np.rint(grey(x).mean()), x, amount),
    "sharpness": lambda x, amount: away_from(smoothed(x), x, amount),
    "rotate": lambda x, amount: warped(x, rotation(x, 30 * amount)),
    "shear_x": lambda x, amount: warped(x, (1, 0.3 * amount, 0, 0, 1, 0)),
    "shear_y": lambda x, amount: warped(x, (1, 0, 0, 0.3 * amount, 1, 0)),
    "translate_x": lambda x, amount: warped(x, (1, 0, 0.45 * amount * x.shape[1], 0, 1, 0)),
    "translate_y": lambda x, amount: warped(x, (1, 0, 0, 0, 1, 0.45 * amount * x.shape[0])),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("pixels", [NOISE, SMOOTH], ids=["noise", "smooth"])
def test_operations_are_those_of_numpy(name: str, pixels: Pixels) -> None:
    for amount in AMOUNTS:
        found = applied(name, pixels, amount)
        assert (found.shape, found.dtype) == (pixels.shape, np.uint8)
        wanted = np.clip(EXPECTED[name](pixels.astype(int), amount), 0, 255)
        # Pillow cuts some fractions off.
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2, err_msg=f"{amount}")


def test_they_change_more_the_larger_the_amount() -> None:
    same = {"auto_contrast", "equalize", "invert"}
    for name in OPERATIONS.keys() - same:
        changes = [
            np.abs(applied(name, NOISE, amount).astype(int) - NOISE).mean()
            for amount in (0.25, 0.5, 1.0)
        ]
        assert changes == sorted(changes), name
        assert changes[0] < changes[-1], name


def amounts(
    monkeypatch: pytest.MonkeyPatch, images: int, **settings: object
) -> tuple[list[float], list[str]]:
    """Return the amounts, and the names, of the operations that images get."""
    numbers: list[float] = []
    names: list[str] = []

    def recorder(name: str) -> randaugment.Operation:
        def record(image: Image.Image, amount: float, fill: randaugment.Color) -> Image.Image:
            assert fill == (124, 116, 104)
            numbers.append(amount)
            names.append(name)
            return image

        return record

    monkeypatch.setattr(randaugment, "OPERATIONS", {name: recorder(name) for name in OPERATIONS})
    config = TrainConfig.model_validate(settings)
    augment = RandAugment.of(config)
    assert augment is not None
    for index in range(images):
        np.testing.assert_array_equal(augment(NOISE, np.random.default_rng(index)), NOISE)
    return numbers, names


def test_half_of_the_chosen_operations_are_applied_each_as_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers, names = amounts(monkeypatch, 3000, randaugment=(2, 9))
    assert len(numbers) == pytest.approx(3000, abs=120)  # three standard deviations
    assert set(np.abs(numbers)) == {0.9}
    assert np.mean(np.sign(numbers)) == pytest.approx(0, abs=0.06)
    counts = [names.count(name) for name in OPERATIONS]
    assert len(counts) == 15
    assert min(counts) > 200 - 3 * 14
    assert max(counts) < 200 + 3 * 14


def test_magnitudes_vary_by_their_standard_deviation(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, _ = amounts(monkeypatch, 1500, randaugment=(4, 5), randaugment_std=0.5)
    magnitudes = 10 * np.abs(numbers)
    assert magnitudes.mean() == pytest.approx(5, abs=0.04)
    assert magnitudes.std() == pytest.approx(0.5, abs=0.03)
    far, _ = amounts(monkeypatch, 300, randaugment=(4, 9), randaugment_std=5)
    assert (min(np.abs(far)), max(np.abs(far))) == (0, 1)


def test_it_is_off_unless_set() -> None:
    assert RandAugment.of(TrainConfig()) is None
