"""The quick look at a file must never say anything that Pillow would not."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from benchmarks.photos import jpeg, photo
from images.decoders import read_header
from images.header import MOST_SEGMENTS, Header, sniff


def saved(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


PHOTO = Image.fromarray(photo(1, 97, 61))
FILES = {
    "JPEG": saved(PHOTO),
    "progressive JPEG": saved(PHOTO, progressive=True),
    "grey JPEG": saved(PHOTO.convert("L")),
    "CMYK JPEG": saved(PHOTO.convert("CMYK")),
    "PNG": saved(PHOTO, "PNG"),
    "BMP": saved(PHOTO, "BMP"),
    "lossy WebP": saved(PHOTO, "WEBP"),
    "lossless WebP": saved(PHOTO, "WEBP", lossless=True),
    "extended WebP": saved(PHOTO.convert("RGBA"), "WEBP", exif=Image.Exif().tobytes()),
}


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize("name", FILES)
def test_sees_what_the_decoder_reads(name: str) -> None:
    assert sniff(FILES[name]) == read_header(FILES[name])


@pytest.mark.parametrize("name", FILES)
def test_no_part_of_a_file_is_an_error(name: str) -> None:
    for length in range(64):
        assert sniff(FILES[name][:length]) in (None, sniff(FILES[name]))


@pytest.mark.parametrize("data", [b"", b"text", b"GIF89a" + bytes(50), b"\xff\xd8" + bytes(50)])
def test_nothing_is_claimed_by_what_is_no_image(data: bytes) -> None:
    assert sniff(data) is None


def test_a_jpeg_that_never_comes_to_the_point_is_left_early() -> None:
    endless = b"\xff\xd8" + b"\xff\xfe\x00\x02" * 1_000_000
    assert sniff(endless) is None


def test_a_jpeg_of_many_segments_is_left_to_the_walk() -> None:
    sound = FILES["JPEG"]
    comments = sound[:2] + b"\xff\xfe\x00\x02" * MOST_SEGMENTS + sound[2:]
    assert sniff(comments) is None
    assert read_header(comments) == ("JPEG", 97, 61)


@pytest.mark.parametrize(
    ("data", "claimed"),
    [
        (b"", None),
        (b"\xff\xd8", None),
        (saved(PHOTO)[:100], None),
        (saved(PHOTO, "PNG"), ("PNG", 97, 61)),
        (saved(PHOTO.convert("CMYK")), ("JPEG", 97, 61)),
        (saved(PHOTO, exif=turned()), ("JPEG", 97, 61)),
        (saved(PHOTO, "MPO", save_all=True, append_images=[PHOTO]), ("JPEG", 97, 61)),
    ],
    ids=["nothing", "a marker", "truncated", "PNG", "CMYK", "turned", "several pictures"],
)
def test_a_claim_needs_a_header(data: bytes, claimed: Header | None) -> None:
    assert sniff(data) == claimed


def test_the_size_of_a_turned_image_is_settled_by_the_walk() -> None:
    assert read_header(saved(PHOTO, exif=turned())) == ("JPEG", 61, 97)


def test_in_damaged_headers_it_finds_what_pillow_finds() -> None:
    chance, sound = np.random.default_rng(0), jpeg(photo(2, 97, 61))
    start, agreed = sound.index(b"\xff\xda"), 0
    for _ in range(2000):
        damaged = bytearray(sound)
        damaged[chance.integers(start)] = chance.integers(256)
        header = sniff(bytes(damaged))
        with warnings.catch_warnings(action="ignore"):
            try:
                image = Image.open(io.BytesIO(damaged), formats=("JPEG",))
            except OSError:
                continue
        if header:
            agreed += 1
            assert (header.width, header.height) == image.size
    assert agreed > 1000
