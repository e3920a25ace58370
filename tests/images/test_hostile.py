"""Files made to be expensive: refused by what the walk finds, or read without what is no pixel."""

import contextlib
import io
import itertools
import struct
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps

from benchmarks import hostile_files as hostile
from benchmarks.photos import jpeg, photo
from images.decoders import ImageError, Pixels, decode
from images.errors import SlowImageError
from images.files import vp8l
from images.files.walk import walk
from images.limits import ImageLimits
from images.transform import Size, Stretch, Transform
from tests.support.image_files import encoded

LIMITS = ImageLimits()
GREY_8 = np.full((8, 8, 3), 128, np.uint8)
BLACK_8 = np.zeros((8, 8, 3), np.uint8)
BIG = hostile.MEGAPIXELS_50


def as_pillow(data: bytes) -> Pixels:
    """Return the pixels as Pillow reads and turns them."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            hostile.progressive_scans(7000, 7000, 883),
            "883 scans.* max_image_ms allows at most 1000",
        ),
        (hostile.progressive_scans(BIG, BIG, 300, valid=False), "300 scans.* max_image_ms"),
        (
            hostile.progressive_scans(8, 8, 10_001, valid=False),
            "10000 segments and scans; max_imag",
        ),
        (hostile.progressive_scans(1, 65_500, 9_900, valid=False), "9900 scans.* max_image_ms"),
        (hostile.progressive_scans(6000, 6000, 2, components=3), "2 scans.* MiB .*max_image_mib"),
        (hostile.jpeg_segments(10_001), "more than 10000 segments"),
        (hostile.jpeg_exif_joins(1, 10_001), "more than 10000 segments"),
        (
            hostile.png_chunks(10_001),
            "more than 10000 chunks; max_image_parts allows at most 10000",
        ),
        (hostile.png_split(hostile.png(8, 8), 10_001), "more than 10000 chunks"),
        (hostile.webp_chunks(10_001), "more than 10000 chunks"),
        (hostile.png(1, 70_000), "1 x 70000 pixels; max_image_side allows at most 65500"),
        (hostile.png(70_000, 1), "max_image_side"),
        (hostile.png(1000, 50_001), "1000 x 50001 = 50001000 pixels; max_image_pixels"),
        (hostile.png(6500, 6500, bits=16, colour=6), "338.0 MB inflated.* max_image_mib"),
        (
            hostile.png(BIG, BIG, bits=1, colour=3),
            "MiB of memory; max_image_mib allows at most 280",
        ),
        (hostile.png(BIG, BIG, colour=2), "150.0 MB inflated.* max_image_mib"),
        (hostile.progressive_scans(1, 65_500, 9_000, valid=False), "9000 scans.* max_image_ms"),
        (hostile.webp_animation(BIG, BIG, 2), "WebP of 50.0 megapixels"),
        (hostile.webp_groups(800), "40000 Huffman groups.* max_image_m"),
        (hostile.bmp_line_ends(200, 200), "run-length compression, .* save it .* as PNG"),
        (hostile.bmp_runs(300, 3), "run-length compression"),
        (hostile.bmp(9000, 9000, 1, 0, b""), "81000000 pixels; max_image_pixels"),
        (
            hostile.bmp(5000, 5000, 24, 0, b""),
            "truncated: 75000000 bytes of pixels in a file of 54",
        ),
        (b"\xff\xd8" + bytes(33 * 2**20), "34603010 bytes; max_image_bytes"),
        (hostile.png(8, 0), "8 x 0 pixels, so there is nothing"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_what_would_cost_too_much_is_refused_by_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode(data, LIMITS)


@pytest.mark.parametrize(
    ("data", "pixels"),
    [
        (hostile.jpeg_segments(9_000), GREY_8),
        (hostile.jpeg_fill_bytes(300_000), GREY_8),
        (hostile.jpeg_junk(300_000), GREY_8),
        (hostile.jpeg_exif_joins(3, 9_000), GREY_8),
        (hostile.png_chunks(9_000), BLACK_8),
        (hostile.png_split(hostile.png(8, 8), 9_000), BLACK_8),
        (hostile.png_text("zTXt", 3_000_000), BLACK_8),
        (hostile.png_text("iTXt", 3_000_000), BLACK_8),
        (hostile.png_text("iCCP", 3_000_000), BLACK_8),
        (hostile.png(8, 8, surplus=10_000_000), BLACK_8),
        (hostile.png_with_wrong_checksum("tEXt"), BLACK_8),
        (hostile.png_with_wrong_checksum("IEND"), BLACK_8),
        (hostile.png_exif(hostile.exif_warnings()), BLACK_8),
        (hostile.png_exif(hostile.exif_rationals(800_000)), BLACK_8),
        (hostile.webp_exif(hostile.exif_rationals(800_000)), BLACK_8),
        (hostile.webp_chunks(9_000), BLACK_8),
    ],
)
def test_what_is_no_pixel_is_skipped(data: bytes, pixels: Pixels) -> None:
    with warnings.catch_warnings(action="error"):
        np.testing.assert_array_equal(decode(data, LIMITS), pixels)


def test_a_text_that_is_cut_off_is_skipped() -> None:
    text = hostile.png_chunk(b"zTXt", b"k\0\0" + hostile.zeros(2**23))[:-4]
    data = hostile.png(8, 8)
    np.testing.assert_array_equal(decode(data[: data.index(b"IEND") - 4] + text, LIMITS), BLACK_8)


def test_a_decode_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    data = hostile.png_empty_blocks(1_100_000)
    np.testing.assert_array_equal(decode(data, LIMITS), BLACK_8)
    seconds = itertools.count(0, 1_000_000_000)
    monkeypatch.setattr("time.thread_time_ns", lambda: next(seconds))
    reason = "^to decode the image has taken 2000 ms .* given up; max_image_ms allows at most 1000"
    with pytest.raises(ImageError, match=reason):
        decode(data, LIMITS)


@pytest.mark.parametrize("kind", ["IHDR", "IDAT"])
def test_a_wrong_check_sum_of_what_decides_the_pixels_is_named(kind: str) -> None:
    with pytest.raises(ImageError, match=f"the PNG's check sum of {kind} is wrong"):
        decode(hostile.png_with_wrong_checksum(kind))  # type: ignore[arg-type]


def frame(kind: int, bits: int = 8, height: int = 8) -> bytes:
    """Return a JPEG of 8 x 8 with another frame header."""
    sound = hostile.black_jpeg(8, 8)
    at = sound.index(b"\xff\xc0")
    return sound[: at + 1] + struct.pack(">BHBH", kind, 11, bits, height) + sound[at + 7 :]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (frame(0xC3), "SOF3 .lossless, hierarchical or arithmetic-coded.*save it as baseline"),
        (frame(0xC9), "SOF9"),
        (frame(0xC1, bits=12), "12 bits per sample; only 8"),
        (frame(0xC0, height=0), "states its height behind the pixels"),
        (frame(0xC0)[:40], "truncated, it ends before its pixels"),
        (hostile.png(8, 8)[:50], "truncated: its chunk IDAT"),
        (hostile.webp(hostile.webp_chunk(b"VP8L", b"/" + bytes(3) + b"\1")), "truncated|symbols"),
        (hostile.png(8, 8)[:33], "truncated, it ends before its pixels"),
        (hostile.bmp(8, 8, 8, 0, b"")[:20], "it ends in its header"),
    ],
)
def test_the_true_reason_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode(data)


def test_a_turned_photo_is_turned_whatever_else_its_exif_says() -> None:
    image = Image.fromarray(photo(1, 97, 61))
    data = hostile.turned_with_signed_rational(image)
    upright = Image.open(io.BytesIO(data)).convert("RGB").transpose(Image.Transpose.ROTATE_270)
    np.testing.assert_array_equal(decode(data, LIMITS), np.asarray(upright))


def test_a_jpeg_without_an_end_is_charged_as_the_decoder_that_reads_it() -> None:
    bare = jpeg(np.zeros((16, 16, 3), np.uint8))
    at = bare.index(b"\xff\xc0") + 5
    large = bare[:at] + struct.pack(">HH", 7_000, 7_000) + bare[at + 4 :]
    assert walk(large, LIMITS).is_plain
    with pytest.raises(ImageError, match="MiB of memory; max_image_mib"):
        walk(large.removesuffix(hostile.EOI), LIMITS)


@pytest.mark.parametrize("valid", [True, False])
@pytest.mark.parametrize("components", [1, 3])
def test_a_small_image_may_have_many_scans(components: int, valid: bool) -> None:
    data = hostile.progressive_scans(97, 61, 500, components=components, valid=valid)
    np.testing.assert_array_equal(decode(data, LIMITS), as_pillow(data))


def test_the_first_frame_of_an_animation_lies_on_black() -> None:
    frames = [Image.fromarray(photo(seed, 40, 30)) for seed in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    for data in (buffer.getvalue(), hostile.webp_animation(50, 40, 5)):
        np.testing.assert_array_equal(decode(data, LIMITS), as_pillow(data))


def test_no_decoder_sees_metadata_or_further_pictures() -> None:
    image, exif = Image.fromarray(photo(2, 97, 61)), Image.Exif()
    exif[0x010F] = "a maker" * 100
    buffer = io.BytesIO()
    image.save(buffer, "MPO", save_all=True, append_images=[image], exif=exif)
    reduced = walk(buffer.getvalue(), LIMITS).data
    assert len(reduced) < len(buffer.getvalue()) / 2
    assert b"a maker" not in reduced
    assert b"MPF" not in reduced
    np.testing.assert_array_equal(decode(buffer.getvalue()), as_pillow(buffer.getvalue()))


def test_a_file_without_metadata_is_not_copied() -> None:
    bare = jpeg(photo(3, 97, 61))
    for data in (bare, hostile.png(8, 8), hostile.webp(hostile.webp_frame(8, 8))):
        assert walk(data, LIMITS).data is data


@pytest.mark.parametrize(("method", "quality"), [(0, 0), (4, 75), (6, 100)])
@pytest.mark.parametrize("colours", [None, 2, 13, 200])
def test_lossless_webp_is_walked_as_it_is_encoded(
    method: int, quality: int, colours: int | None
) -> None:
    image = Image.fromarray(photo(4, 203, 151))
    image = image.quantize(colours).convert("RGB") if colours else image
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True, method=method, quality=quality)
    np.testing.assert_array_equal(decode(buffer.getvalue(), LIMITS), np.asarray(image))


def test_the_huffman_groups_of_a_webp_are_counted() -> None:
    body = memoryview(hostile.webp_groups(100))[20:]
    assert vp8l.Walk(body).groups(100, 100) == 625
    np.testing.assert_array_equal(decode(hostile.webp_groups(20)), np.zeros((20, 20, 3), np.uint8))


@pytest.mark.parametrize(
    ("width", "height", "exif"),
    [(8160, 6120, b""), (8160, 6120, hostile.tiff([(0x0112, 3, 1, 6)])), (30_000, 1_600, b"")],
    ids=["a phone's", "turned", "panorama"],
)
def test_honest_sizes_pass(width: int, height: int, exif: bytes) -> None:
    segment = hostile.segment(hostile.APP1, b"Exif\0\0" + exif) if exif else b""
    bare = jpeg(np.zeros((16, 16, 3), np.uint8))
    at = bare.index(b"\xff\xc0") + 5
    data = bare[:2] + segment + bare[2:at] + struct.pack(">HH", height, width) + bare[at + 4 :]
    found = walk(data + bytes(15_000_000), LIMITS)
    assert (found.width, found.height, found.is_plain) == (width, height, True)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_turned_jpeg_is_not_charged_less(*, mode: str, progressive: bool) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (3000, 2000)).save(buffer, "JPEG", progressive=progressive)
    upright, exif = buffer.getvalue(), hostile.tiff([(0x0112, 3, 1, 6)])
    turned = upright[:2] + hostile.segment(hostile.APP1, b"Exif\0\0" + exif) + upright[2:]

    def least_mib(data: bytes) -> int:
        """Return the lowest limit that lets a file through."""
        for mib in range(100):
            with contextlib.suppress(ImageError):
                walk(data, LIMITS._replace(max_image_mib=mib))
                return mib
        raise AssertionError

    assert least_mib(turned) >= least_mib(upright)


def test_a_long_thin_image_needs_little_memory_to_resize() -> None:
    square = Size(height=32, width=32)
    transform = Transform(resize=Stretch(height=32, width=32), crop=square)
    assert transform.decode(hostile.png(1, 65_500), LIMITS).shape == (32, 32, 3)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(("width", "height"), [(40_000, 20), (20, 40_000)])
def test_a_long_image_is_charged_for_what_lies_between_the_passes(
    width: int, height: int, orientation: int
) -> None:
    crop = Size(height=224, width=224)
    transform = Transform(resize=Stretch(height=224, width=224), crop=crop)
    data = encoded(np.zeros((height, width, 3), np.uint8), orientation=orientation)
    transform.decode(data, LIMITS)
    reason = f"{width} x {height} pixels, resized.* would take about 46 MiB .*max_image_mib"
    with pytest.raises(ImageError, match=reason):
        transform.decode(data, LIMITS._replace(max_image_mib=45))


@pytest.mark.parametrize(
    "entry",
    [
        (0x0112, 3, 1, 9),
        (0x0112, 3, 2, 6),
        (0x0112, 5, 1, 6),
        (0x0112, 2, 1, 0x36),
        (0x0111, 3, 1, 6),
    ],
)
def test_no_other_tag_or_value_turns(entry: tuple[int, int, int, int]) -> None:
    assert walk(hostile.png_exif(hostile.tiff([entry])), LIMITS).orientation == 1


@pytest.mark.parametrize(
    "tiff", [b"", b"junk" * 9, b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\x05\0"]
)
def test_broken_exif_turns_nothing(tiff: bytes) -> None:
    assert walk(hostile.webp_exif(tiff), LIMITS).orientation == 1


def test_mutated_files_raise_nothing_else() -> None:
    chance = np.random.default_rng(0)
    image = Image.fromarray(photo(5, 60, 40))
    seeds = [
        hostile.turned_with_signed_rational(image),
        hostile.progressive_scans(60, 40, 20, components=3),
        hostile.png(30, 20, colour=3, before=hostile.png_chunk(b"eXIf", b"II*\0")),
        hostile.webp_animation(50, 40, 3),
        hostile.webp_exif(hostile.tiff([(0x0112, 3, 1, 6)])),
        hostile.bmp(20, 20, 8, 0, bytes(400)),
    ]
    refused = 0
    for data in seeds:
        for _ in range(150):
            mutated = bytearray(data)
            for at in chance.integers(len(data), size=int(chance.integers(1, 6))):
                mutated[at] = chance.integers(256)
            cut = int(chance.integers(1, len(data))) if chance.random() < 0.2 else len(data)
            try:
                decode(bytes(mutated[:cut]), LIMITS)
            except ImageError:
                refused += 1
    assert 100 < refused < 800


def test_a_thin_picture_has_more_blocks_than_pixels() -> None:
    strip = hostile.progressive_scans(1, 65_500, 200, valid=False)
    walk(strip, LIMITS._replace(max_image_ms=100))
    with pytest.raises(SlowImageError, match="200 scans"):
        walk(strip, LIMITS._replace(max_image_ms=50))
