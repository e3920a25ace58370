"""Augmentation of training images, drawn from (seed, epoch, image index) and nothing else."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from images.decoders import Pixels

Draws = NDArray[np.float64]

ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
SCALE = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
CROP_ATTEMPTS = 10


@lru_cache(maxsize=2)
def uniform_draws(key: tuple[int, ...], images: int) -> Draws:
    """Return uniform numbers in [0, 1), shape (images, 3); row i belongs to image i."""
    return np.random.default_rng(key).random((images, 3))


def shift_and_flip(images: Pixels, draws: Draws, shift: int) -> Pixels:
    """Move each image by up to `shift` pixels (zeros come in), mirror half of them.

    uint8 (N, H, W, 3) and draws (N, 3) -> uint8 (N, H, W, 3).
    """
    count, height, width, _ = images.shape
    margin = ((0, 0), (shift, shift), (shift, shift), (0, 0))
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(images, margin), (height, width), axis=(1, 2)
    )
    top, left = (draws[:, :2] * (2 * shift + 1)).astype(int).T
    moved = windows[np.arange(count), top, left].transpose(0, 2, 3, 1)
    mirrored: Pixels = np.where((draws[:, 2] < 0.5)[:, None, None, None], moved[:, :, ::-1], moved)
    return mirrored


def random_resized_crop(
    rgb: Pixels, size: tuple[int, int], color_jitter: float, rng: np.random.Generator
) -> Pixels:
    """Crop (Szegedy et al. 2015), resize to size (height, width), flip, jitter colours."""
    image = Image.fromarray(rgb)
    box = _crop_box(image.width, image.height, rng)
    image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR, box)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for enhancer in ENHANCERS:
        factor = rng.uniform(max(0.0, 1 - color_jitter), 1 + color_jitter)
        image = enhancer(image).enhance(factor)
    return np.asarray(image)


def _crop_box(width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    for _ in range(CROP_ATTEMPTS):
        area = width * height * rng.uniform(*SCALE)
        ratio = np.exp(rng.uniform(*np.log(RATIO)))
        w, h = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side
