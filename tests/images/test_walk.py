"""What the walk leaves of a file has the same pixels, and is turned as Pillow turns it."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from benchmarks.photos import photo
from images.decoders import Pixels, configure, decode
from images.files.jpeg import NEAR, WINDOW
from images.files.walk import walk
from images.limits import ImageLimits
from images.transform import ShorterSide, Size, Stretch, Transform

PHOTO = Image.fromarray(photo(1, 97, 61))
FILES = {
    "JPEG": ("JPEG", {}),
    "progressive": ("JPEG", {"progressive": True}),
    "PNG": ("PNG", {"icc_profile": bytes(2000)}),
    "lossy": ("WEBP", {"icc_profile": bytes(2000)}),
    "lossless": ("WEBP", {"lossless": True}),
}
MODES = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "L", "1", "P", "RGBA", "LA", "I;16"),
    "WEBP": ("RGB", "RGBA"),
}
TRANSFORMS = [
    Transform(resize=ShorterSide(pixels=40), crop=Size(height=32, width=32), kernel="bicubic"),
    Transform(resize=Stretch(height=32, width=32), crop=Size(height=28, width=28), antialias=False),
]


def in_mode(mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.asarray(PHOTO.convert("L")).astype(np.uint16) * 257)
    if mode == "P":
        return PHOTO.quantize(30)
    image = PHOTO.convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def as_pillow(data: bytes) -> Pixels:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode == "I;16":
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_the_whole_file(name: str, orientation: int) -> None:
    kind, options = FILES[name]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for mode in MODES[kind]:
        buffer = io.BytesIO()
        in_mode(mode).save(buffer, kind, exif=exif, **options)
        data = buffer.getvalue()
        expected = as_pillow(data)
        assert len(walk(data, ImageLimits()).data) < len(data)
        np.testing.assert_array_equal(decode(data, ImageLimits()), expected)
        for transform in TRANSFORMS:
            np.testing.assert_array_equal(transform.decode(data), transform.from_rgb(expected))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_xmp_turns_an_image_without_exif(kind: str) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
    buffer = io.BytesIO()
    PHOTO.save(buffer, kind, xmp=xmp)
    assert walk(buffer.getvalue()).orientation == 6
    np.testing.assert_array_equal(decode(buffer.getvalue()), as_pillow(buffer.getvalue()))


def test_exif_behind_the_pixels_of_a_png_counts() -> None:
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 8
    PHOTO.save(buffer, "PNG", exif=exif)
    data = buffer.getvalue()
    start = data.index(b"eXIf") - 4
    stop = start + 12 + int.from_bytes(data[start : start + 4])
    late = data[:start] + data[stop:-12] + data[start:stop] + data[-12:]
    np.testing.assert_array_equal(decode(late), as_pillow(data))


def test_own_images_have_no_limit() -> None:
    configure()
    buffer = io.BytesIO()
    Image.new("1", (70_000, 20)).save(buffer, "PNG")
    assert decode(buffer.getvalue()).shape == (20, 70_000, 3)


@pytest.mark.parametrize("far", [0, NEAR - 1, NEAR, NEAR + WINDOW - 1, NEAR + WINDOW, 200_001])
@pytest.mark.parametrize("between", [b"\0", b"\xff\0", b"\xff\xd3", b"\xff\1", b"\xff"])
def test_the_end_of_the_pixels_is_found_wherever_it_lies(between: bytes, far: int) -> None:
    buffer = io.BytesIO()
    PHOTO.save(buffer, "JPEG")
    data = buffer.getvalue()
    before, start = data.removesuffix(b"\xff\xd9"), data.index(b"\xff\xda")
    start += 2 + int.from_bytes(data[start + 2 : start + 4])
    pixels = before[start:] + (between * far)[: max(0, far - len(before) + start)]
    whole = before[:start] + pixels + b"\xff\xd9"
    comment = whole[:2] + b"\xff\xfe\0\4no" + whole[2:]
    for tail in (b"", b"what some cameras append"):
        assert walk(comment + tail).data == whole
