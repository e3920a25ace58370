"""Golden images: encoded so that together they exercise all of decoding and resizing."""

import io
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bundle.golden import GOLDEN, GoldenImage, GoldenSet, pixels_digest
from export.answers import require_probabilities
from export.original import Original
from images.files.orientation import ORIENTATION_TAG
from images.transform import Pixels, Transform
from training.data.dataset import Dataset

LONGEST_SIDE = 192
CANDIDATES = 10
TURN_RIGHT_TO_VIEW = 6
FILE_TYPES = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "bmp": "BMP"}


@dataclass(frozen=True)
class Variant:
    """One way to encode an image: in which file, mode and size (width and height are scaled)."""

    extension: str
    mode: str = "RGB"
    scale: tuple[float, float] = (1.0, 1.0)
    turned: bool = False
    quality: int = 95

    def encode(self, rgb: Pixels, size: tuple[int, int] | None = None) -> bytes:
        """Return the bytes of the file, of that size; else a large image is made smaller first."""
        image = Image.fromarray(rgb)
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        size = size or (round(image.width * self.scale[0]), round(image.height * self.scale[1]))
        image = _to_mode(image.resize(size, Image.Resampling.BICUBIC), self.mode)
        options: dict[str, Any] = (
            {"quality": self.quality} if self.extension == "jpg" else {"lossless": True}
        )
        if self.turned:
            image = image.transpose(Image.Transpose.ROTATE_90)
            options["exif"] = Image.Exif()
            options["exif"][ORIENTATION_TAG] = TURN_RIGHT_TO_VIEW
        buffer = io.BytesIO()
        image.save(buffer, FILE_TYPES[self.extension], **options)
        return buffer.getvalue()


VARIANTS = (
    Variant("png"),
    Variant("jpg", scale=(3.5, 3.5)),
    Variant("webp", scale=(2.5, 1.75)),
    Variant("bmp", scale=(1.25, 1.5)),
    Variant("png", "L", (2.0, 2.0)),
    Variant("jpg", scale=(2.0, 3.0), turned=True),
    Variant("png", "P", (1.5, 1.5)),
    Variant("png", "RGBA", (0.75, 0.75)),
    Variant("png", "I;16", (1.0, 2.0)),
    Variant("jpg", "CMYK", (3.0, 3.0)),
)
# Further ones, of a transform with reduced decoding: by how much their sides are divided.
REDUCED = {2: Variant("jpg", quality=75), 4: Variant("jpg", turned=True, quality=75)}


@dataclass(frozen=True)
class EncodedImage:
    """An image file: name, bytes, and its pixels after the transform."""

    name: str
    data: bytes
    pixels: Pixels


def choose(dataset: Dataset, original: Original) -> list[EncodedImage]:
    """Return one image per variant, from evenly spread classes, each classified correctly.

    If none of the first images of a class is, the first one is taken. Classes without images are
    left out.
    """
    labels, images = original.labels, []
    held = sorted({dataset.label(index) for index in range(len(dataset))})
    count = _count(original.transform)
    for number in range(count):
        wanted = held[number * len(held) // count]
        candidates = [
            _encoded(labels[wanted], number, dataset.rgb(index), original.transform)
            for index in _first_of(dataset, wanted)
        ]
        answers = original.predict(np.stack([image.pixels for image in candidates]))
        images.append(candidates[int((answers.argmax(axis=1) == wanted).argmax())])
    return images


def spread(dataset: Dataset, transform: Transform) -> list[EncodedImage]:
    """Return one image per variant, from all over a dataset whose classes are not known."""
    count = _count(transform)
    return [
        _encoded("photo", number, dataset.rgb(number * len(dataset) // count), transform)
        for number in range(count)
    ]


def synthetic(transform: Transform) -> list[EncodedImage]:
    """Return one made-up image per variant, coloured waves, the same on every call."""
    return [
        _encoded("synthetic", number, _waves(number), transform)
        for number in range(_count(transform))
    ]


def record(root: Path, images: list[EncodedImage], original: Original) -> GoldenSet:
    """Write the image files into the bundle at `root`; return what the original answers to them.

    The answers are written later, together with those of int8 files.
    """
    folder = (root / GOLDEN).parent
    folder.mkdir()
    for image in images:
        (folder / image.name).write_bytes(image.data)
    answers = original.predict(np.stack([image.pixels for image in images]))
    require_probabilities(answers, lambda row: f"golden image {images[row].name}")
    return GoldenSet(
        labels=original.labels,
        transform=original.transform,
        normalization=original.normalization,
        images=[
            GoldenImage(
                path=f"{folder.name}/{image.name}",
                pixels_sha256=pixels_digest(image.pixels),
                probabilities=answer.tolist(),
            )
            for image, answer in zip(images, answers, strict=True)
        ],
    )


def slug(label: str) -> str:
    """Return the label as part of a file name: "T-shirt/top" -> "t_shirt_top"."""
    return re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_") or "class"


def _encoded(label: str, number: int, rgb: Pixels, transform: Transform) -> EncodedImage:
    if number < len(VARIANTS):
        variant = VARIANTS[number]
        data = variant.encode(rgb)
    else:
        reduction, variant = [*REDUCED.items()][number - len(VARIANTS)]
        data = variant.encode(rgb, _large(rgb, transform, 2 * reduction))
    name = f"{slug(label)}_{number}.{variant.extension}"
    return EncodedImage(name, data, transform.decode(data))


def _count(transform: Transform) -> int:
    return len(VARIANTS) + (len(REDUCED) if transform.decoding == "reduced" else 0)


def _large(rgb: Pixels, transform: Transform, times: int) -> tuple[int, int]:
    """Return a width and height that the transform makes so many times smaller."""
    width, height = transform.resize.resized(rgb.shape[1], rgb.shape[0])
    return width * times, height * times


def _first_of(dataset: Dataset, wanted: int) -> list[int]:
    indices = (index for index in range(len(dataset)) if dataset.label(index) == wanted)
    return list(islice(indices, CANDIDATES))


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if mode == "P":
        return image.quantize(64)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
        return image
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return image.convert(mode)


def _waves(number: int) -> Pixels:
    phases = np.random.default_rng(number).uniform(0.0, 2 * np.pi, 3)
    y, x = np.mgrid[0:96, 0:128] / 16.0
    waves = np.sin(x[..., None] + phases) * np.cos(y[..., None] * (1 + number % 3))
    return np.asarray(waves * 127 + 128, np.uint8)
