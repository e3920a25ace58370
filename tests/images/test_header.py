"""The quick look at a JPEG must never say anything that Pillow would not."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from benchmarks.photos import jpeg, photo
from images.header import plain_jpeg_size


def saved(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


PHOTO = Image.fromarray(photo(1, 97, 61))


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize(
    "data",
    [
        saved(PHOTO),
        saved(PHOTO, progressive=True),
        saved(PHOTO.convert("L")),
        saved(PHOTO, comment=b"a comment"),
        saved(PHOTO, icc_profile=b"0" * 70_000),
    ],
    ids=["baseline", "progressive", "grey", "comment", "colour profile"],
)
def test_a_plain_jpeg_tells_its_size(data: bytes) -> None:
    assert plain_jpeg_size(data) == (97, 61)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        saved(PHOTO)[:100],
        saved(PHOTO, "PNG"),
        saved(PHOTO.convert("CMYK")),
        saved(PHOTO, exif=turned()),
        saved(PHOTO, "MPO", save_all=True, append_images=[PHOTO]),
    ],
    ids=["nothing", "a marker", "truncated", "PNG", "CMYK", "turned", "several pictures"],
)
def test_of_anything_else_it_says_nothing(data: bytes) -> None:
    assert plain_jpeg_size(data) is None


def test_in_damaged_headers_it_finds_what_pillow_finds() -> None:
    chance, sound = np.random.default_rng(0), jpeg(photo(2, 97, 61))
    start, agreed = sound.index(b"\xff\xda"), 0
    for _ in range(2000):
        damaged = bytearray(sound)
        damaged[chance.integers(start)] = chance.integers(256)
        size = plain_jpeg_size(bytes(damaged))
        with warnings.catch_warnings(action="ignore"):
            try:
                image = Image.open(io.BytesIO(damaged), formats=("JPEG",))
            except OSError:
                continue
        agreed += size == image.size
        assert size in (None, image.size)
    assert agreed > 1000
