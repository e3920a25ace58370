"""JPEG files that cost what photos cost, from a seed."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from images.transform import Pixels

WIDTH, HEIGHT = 500, 375
CONTRAST = 50.0
SLOPE = 1.2


def photo(seed: int, width: int = WIDTH, height: int = HEIGHT) -> Pixels:
    """Return uint8 (height, width, 3): noise blurred to the amplitudes of photos.

    They fall as frequency ** -1.2 (Tolhurst, Tadmor, Chao 1992, "Amplitude spectra of natural
    images"); colours vary a third as much as brightness.
    """
    random = np.random.default_rng(seed)
    brightness, *colours = (_noise(random, width, height) for _ in range(4))
    rgb = brightness[..., None] + np.stack(colours, axis=-1) / 3
    return (rgb * CONTRAST + 128).clip(0, 255).astype(np.uint8)


def jpeg(pixels: Pixels, quality: int = 90, subsampling: str = "4:2:0") -> bytes:
    """Return a baseline JPEG file of uint8 RGB pixels (height, width, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def write_photos(folder: Path, images: int = 32) -> None:
    """Write `photo_<seed>.jpg` of 500 x 375 for each seed below `images`."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(images):
        (folder / f"photo_{seed:02}.jpg").write_bytes(jpeg(photo(seed)))


def _noise(random: np.random.Generator, width: int, height: int) -> NDArray[np.float64]:
    """Return (height, width) of mean 0 and standard deviation 1, amplitudes as in photos."""
    white = np.fft.rfft2(random.normal(size=(height, width)))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(white / frequency**SLOPE, s=(height, width))
    return np.asarray(noise / noise.std())
