"""JPEG files that cost what photos cost, from a seed; `python -m benchmarks.photos` writes some."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, PositiveInt

from benchmarks.command import Benchmark, configured, start
from images.transform import Pixels

WIDTH, HEIGHT = 500, 375
CONTRAST = 50.0
SLOPE = 1.2


class Photos(Benchmark):
    """Write photos as phones take them: 12 megapixels and 2.5 MB each."""

    model_config = configured("benchmarks.photos")

    output: Path = Field(Path("build/benchmarks/photos_12mp"), description="folder for the photos")
    images: PositiveInt = Field(8, description="number of photos")
    width: PositiveInt = Field(4000, description="of each, in pixels")
    height: PositiveInt = Field(3000, description="of each, in pixels")
    quality: PositiveInt = Field(75, description="of the JPEG files")

    def run(self) -> None:
        """Write them."""
        write_photos(self.output, self.images, self.width, self.height, self.quality)


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


def write_photos(
    folder: Path, images: int = 32, width: int = WIDTH, height: int = HEIGHT, quality: int = 90
) -> None:
    """Write `photo_<seed>.jpg` for each seed below `images`."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(images):
        data = jpeg(photo(seed, width, height), quality)
        (folder / f"photo_{seed:02}.jpg").write_bytes(data)


def _noise(random: np.random.Generator, width: int, height: int) -> NDArray[np.float64]:
    """Return (height, width) of mean 0 and standard deviation 1, amplitudes as in photos."""
    white = np.fft.rfft2(random.normal(size=(height, width)))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(white / frequency**SLOPE, s=(height, width))
    return np.asarray(noise / noise.std())


if __name__ == "__main__":
    start(Photos)
