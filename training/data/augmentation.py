"""The two crops of training images: of photographs, and of small images."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from images.decoders import Pixels
from training.settings.train_config import TrainConfig

Draws = NDArray[np.float64]

ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
CROP_ATTEMPTS = 10


@lru_cache(maxsize=2)
def uniform_draws(key: tuple[int, ...], images: int) -> Draws:
    """Return uniform numbers in [0, 1), shape (images, 3); row i belongs to image i."""
    return np.random.default_rng(key).random((images, 3))


def shift_and_flip(images: Pixels, draws: Draws, shift: int, hflip: float) -> Pixels:
    """Move each image by up to `shift` pixels (zeros come in), mirror it with probability `hflip`.

    uint8 (N, H, W, 3) and draws (N, 3) -> uint8 (N, H, W, 3).
    """
    count, height, width, _ = images.shape
    margin = ((0, 0), (shift, shift), (shift, shift), (0, 0))
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(images, margin), (height, width), axis=(1, 2)
    )
    top, left = (draws[:, :2] * (2 * shift + 1)).astype(int).T
    moved = windows[np.arange(count), top, left].transpose(0, 2, 3, 1)
    mirror = (draws[:, 2] < hflip)[:, None, None, None]
    mirrored: Pixels = np.where(mirror, moved[:, :, ::-1], moved)
    return mirrored


def random_resized_crop(rgb: Pixels, config: TrainConfig, rng: np.random.Generator) -> Pixels:
    """Crop, resize to `image_size`, flip, jitter colours: uint8 (h, w, 3) -> uint8 (H, W, 3).

    The crop is that of Szegedy et al. 2015 (arXiv:1409.4842), section 6, with the numbers of
    torchvision's RandomResizedCrop unless set: area from `crop_scale`, shape from `crop_ratio`.
    """
    image = Image.fromarray(rgb)
    box = _crop_box(image.width, image.height, config, rng)
    height, width = config.image_size
    image = image.resize((width, height), Image.Resampling.BILINEAR, box)
    if rng.random() < config.hflip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    jitter = config.color_jitter
    for enhancer in ENHANCERS:
        factor = rng.uniform(max(0.0, 1 - jitter), 1 + jitter)
        image = enhancer(image).enhance(factor)
    return np.asarray(image)


def _crop_box(
    width: int, height: int, config: TrainConfig, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    for _ in range(CROP_ATTEMPTS):
        area = width * height * rng.uniform(*config.crop_scale)
        ratio = np.exp(rng.uniform(*np.log(config.crop_ratio)))
        w, h = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side
