import io

import pytest
from PIL import Image

from images.decoders import read_header
from serving.engine.peek import peek
from serving.engine.sources import Encoded, Raw, Size
from tests.support.bundles import photo


def encoded(form: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    photo(1, 37, 23).convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


FILES = {
    "JPEG": encoded("JPEG"),
    "progressive JPEG": encoded("JPEG", progressive=True),
    "grey JPEG": encoded("JPEG", "L"),
    "CMYK JPEG": encoded("JPEG", "CMYK"),
    "PNG": encoded("PNG"),
    "BMP": encoded("BMP"),
    "lossy WebP": encoded("WEBP"),
    "lossless WebP": encoded("WEBP", lossless=True),
    "extended WebP": encoded("WEBP", "RGBA", exif=Image.Exif().tobytes()),
}


@pytest.mark.parametrize("name", FILES)
def test_sees_what_the_decoder_reads(name: str) -> None:
    assert peek(FILES[name]) == read_header(FILES[name])


@pytest.mark.parametrize("name", FILES)
def test_no_part_of_a_file_is_an_error(name: str) -> None:
    for length in range(64):
        peek(FILES[name][:length])


@pytest.mark.parametrize("data", [b"", b"text", b"GIF89a" + bytes(50), b"\xff\xd8" + bytes(50)])
def test_nothing_is_claimed_by_what_is_no_image(data: bytes) -> None:
    assert peek(data) is None


def test_a_jpeg_that_never_comes_to_the_point_is_left_early() -> None:
    endless = b"\xff\xd8" + b"\xff\xfe\x00\x02" * 1_000_000
    assert peek(endless) is None


def test_a_size_for_admission() -> None:
    jpeg = FILES["JPEG"]
    assert Encoded(jpeg).size(10_000) == Size("JPEG", 37 * 23, len(jpeg))
    assert Raw(bytes(64), 8, 8, 1).size(10_000) == Size("raw", 64, 64)


def test_what_will_be_refused_undecoded_claims_no_pixels() -> None:
    assert Encoded(FILES["JPEG"]).size(800).pixels == 0
    assert Encoded(b"text").size(10_000) == Size("unknown", 0, 4)
    assert Raw(b"", 100_000, 100_000, 3).size(10_000).pixels == 0
