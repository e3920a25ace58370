"""RandAugment (Cubuk et al. 2019, arXiv:1909.13719, section 3), with the operations of timm.

timm's `auto_augment.py` differs from the paper in that an operation that was chosen is applied to
half of the images, and in that every operation changes more, the larger the magnitude (`inc1`):
`--randaugment 2,9 --randaugment-std 0.5` is its `rand-m9-n2-mstd0.5-inc1`. Here pixels are always
interpolated linearly; timm takes bilinear or bicubic by chance.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from images.decoders import Pixels
from training.settings.train_config import TrainConfig

Color = tuple[int, ...]
# Image, amount in [-1, 1], colour of what comes in from outside -> image.
Operation = Callable[[Image.Image, float, Color], Image.Image]

MOST = 10.0  # the largest magnitude
PROBABILITY = 0.5
# What each operation does at the largest magnitude: degrees, pixels per pixel, share of the side,
# levels, bits, and distance from 1, which changes nothing.
DEGREES, SHEAR, TRANSLATION, ADDED, BITS, ENHANCEMENT = 30, 0.3, 0.45, 110, 4, 0.9


@dataclass(frozen=True)
class RandAugment:
    """Applies `count` operations, chosen at random, to an image.

    Attributes:
        magnitude: 0 to 10; each operation's is normal around it, by `std`, and clipped.
        fill: of what comes in from outside the image.
    """

    count: int
    magnitude: float
    std: float
    fill: Color

    @classmethod
    def of(cls, config: TrainConfig) -> "RandAugment | None":
        """Return what the settings ask for, if anything; images are filled with their mean."""
        if config.randaugment is None:
            return None
        fill = tuple(min(255, max(0, round(mean))) for mean in config.mean)
        return cls(*config.randaugment, config.randaugment_std, fill)

    def __call__(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """Return the image, changed: uint8 (H, W, 3) -> uint8 (H, W, 3)."""
        image = Image.fromarray(pixels)
        operations = list(OPERATIONS.values())
        for number in rng.integers(len(operations), size=self.count):
            if rng.random() < PROBABILITY:
                magnitude = np.clip(rng.normal(self.magnitude, self.std), 0, MOST)
                sign = 1 if rng.random() < 0.5 else -1
                image = operations[number](image, sign * float(magnitude) / MOST, self.fill)
        return np.asarray(image)


def _rotate(image: Image.Image, amount: float, fill: Color) -> Image.Image:
    return image.rotate(DEGREES * amount, Image.Resampling.BILINEAR, fillcolor=fill)


def _affine(image: Image.Image, matrix: tuple[float, ...], fill: Color) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=fill
    )


def _shear_x(image: Image.Image, amount: float, fill: Color) -> Image.Image:
    return _affine(image, (1, SHEAR * amount, 0, 0, 1, 0), fill)


def _shear_y(image: Image.Image, amount: float, fill: Color) -> Image.Image:
    return _affine(image, (1, 0, 0, SHEAR * amount, 1, 0), fill)


def _translate_x(image: Image.Image, amount: float, fill: Color) -> Image.Image:
    return _affine(image, (1, 0, TRANSLATION * amount * image.width, 0, 1, 0), fill)


def _translate_y(image: Image.Image, amount: float, fill: Color) -> Image.Image:
    return _affine(image, (1, 0, 0, 0, 1, TRANSLATION * amount * image.height), fill)


def _posterize(image: Image.Image, amount: float, _fill: Color) -> Image.Image:
    # At the largest magnitude no bit is kept, which ImageOps.posterize refuses.
    dropped = 8 - BITS + int(BITS * abs(amount))
    return image.point([level >> dropped << dropped for level in range(256)] * 3)


def _solarize(image: Image.Image, amount: float, _fill: Color) -> Image.Image:
    return ImageOps.solarize(image, 256 - int(256 * abs(amount)))


def _solarize_add(image: Image.Image, amount: float, _fill: Color) -> Image.Image:
    added = int(ADDED * abs(amount))
    table = [level + added if level < 128 else level for level in range(256)]
    return image.point(table * 3)


def _enhanced(enhancer: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    return lambda image, amount, _fill: enhancer(image).enhance(1 + ENHANCEMENT * amount)


def _plain(operation: Callable[[Image.Image], Image.Image]) -> Operation:
    return lambda image, _amount, _fill: operation(image)


OPERATIONS: dict[str, Operation] = {
    "auto_contrast": _plain(ImageOps.autocontrast),
    "equalize": _plain(ImageOps.equalize),
    "invert": _plain(ImageOps.invert),
    "rotate": _rotate,
    "posterize": _posterize,
    "solarize": _solarize,
    "solarize_add": _solarize_add,
    "color": _enhanced(ImageEnhance.Color),
    "contrast": _enhanced(ImageEnhance.Contrast),
    "brightness": _enhanced(ImageEnhance.Brightness),
    "sharpness": _enhanced(ImageEnhance.Sharpness),
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
}
