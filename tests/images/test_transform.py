"""The transform: its pixels bit by bit, its rules for colour, its refusals."""

import io
import random
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from bundle.golden import pixels_digest
from images.decoders import ImageError, Pixels, read_header
from images.transform import ShorterSide, Size, Stretch, Transform

IMAGES = Path(__file__).parent / "images"
TRANSFORMS = (
    Transform(resize=Stretch(height=32, width=32), crop=Size(height=28, width=28)),
    Transform(resize=ShorterSide(pixels=40), crop=Size(height=32, width=32), kernel="bicubic"),
    Transform(resize=Stretch(height=32, width=32), crop=Size(height=28, width=28), antialias=False),
)
WHOLE = Transform(resize=Stretch(height=60, width=81), crop=Size(height=60, width=81))
STRETCH = {"resize": {"kind": "stretch", "height": 12, "width": 12}}
DIGESTS = {
    "alpha.png": ("3a54dc3d2b317e29", "3cb6600a42eef890", "aaf95f8b40c7ef07"),
    "alpha.webp": ("a3b70f9b8f3fa002", "ae24d8e210e75664", "8a666bcfa7711792"),
    "baseline.jpg": ("83e3d008d2daf2e5", "f7c4c60899d36197", "c75983da9bff77ed"),
    "cmyk.jpg": ("f8b1dde546957881", "badf48136dad06fb", "2d1740930baa5fe2"),
    "full_chroma.jpg": ("a2fc00c53476566b", "ef6a8234a71991eb", "ef94402fa9d63ff9"),
    "grey.bmp": ("0b4344e05a0ee65e", "4603cc8a90dfa4c8", "ff3bb12cab13d8fa"),
    "grey.jpg": ("e3ccb27dc371245a", "0545cdbf8f720cae", "d6c94d4205f88a45"),
    "grey.png": ("0b4344e05a0ee65e", "4603cc8a90dfa4c8", "ff3bb12cab13d8fa"),
    "grey16.png": ("fcf5fe33ffbe2aa2", "f60d7184f9b424c3", "1f34c3920207c570"),
    "grey_alpha.png": ("0b4344e05a0ee65e", "4603cc8a90dfa4c8", "ff3bb12cab13d8fa"),
    "lossless.webp": ("3a54dc3d2b317e29", "3cb6600a42eef890", "aaf95f8b40c7ef07"),
    "lossy.webp": ("b1c564bb11334b6f", "4abf29a3fb06420c", "2e9bfd8e32d98daf"),
    "one_bit.png": ("9e21e5a255f8125e", "f8a4ef5af70567d1", "ad019e4e726bad98"),
    "palette.bmp": ("46914cfd01daec0a", "d8783f2ece30c674", "81c70c343f32eacc"),
    "palette.png": ("46914cfd01daec0a", "d8783f2ece30c674", "81c70c343f32eacc"),
    "progressive.jpg": ("b0f487ff56ac1af0", "3f4c41369de493a7", "a439861a25f6d8fd"),
    "rgb.bmp": ("3a54dc3d2b317e29", "3cb6600a42eef890", "aaf95f8b40c7ef07"),
    "rgb.png": ("3a54dc3d2b317e29", "3cb6600a42eef890", "aaf95f8b40c7ef07"),
    "rgb16.png": ("05e60db20ccf9575", "c6162ad65473acfa", "8d433fb90fc82c7e"),
    "turned.jpg": ("7bcc2f42b98d2c62", "8be3eb573bd4db31", "21f6acf90be30491"),
}


def read(name: str) -> bytes:
    return (IMAGES / name).read_bytes()


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 81, height: int = 60) -> Pixels:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 3, y * 4, (x * y) % 256], -1).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", DIGESTS)
def test_pixels_are_the_recorded_ones(name: str) -> None:
    digests = tuple(pixels_digest(transform.decode(read(name)))[:16] for transform in TRANSFORMS)
    assert digests == DIGESTS[name]


def test_every_image_is_recorded() -> None:
    assert {path.name for path in IMAGES.iterdir()} == DIGESTS.keys()


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("name", DIGESTS)
def test_pixels_are_uint8_rgb_of_the_crop_size(transform: Transform, name: str) -> None:
    pixels = transform.decode(read(name))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (transform.crop.height, transform.crop.width, 3)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
def test_a_lossless_file_of_the_right_size_comes_back_whole(kind: str) -> None:
    data = encode(Image.fromarray(gradient()), kind, lossless=True)
    np.testing.assert_array_equal(WHOLE.decode(data), gradient())


def test_grey_fills_three_channels() -> None:
    grey = gradient()[:, :, 2]
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(WHOLE.decode(encode(Image.fromarray(grey), "PNG")), expected)


def test_sixteen_bits_keep_their_high_byte() -> None:
    deep = np.random.default_rng(1).integers(0, 65536, (60, 81, 3), np.uint16)
    grey = WHOLE.decode(encode(Image.fromarray(deep[:, :, 0].copy()), "PNG"))
    np.testing.assert_array_equal(grey, np.repeat(deep[:, :, :1] >> 8, 3, axis=2))
    colour = WHOLE.decode(cv2.imencode(".png", deep[:, :, ::-1])[1].tobytes())
    np.testing.assert_array_equal(colour, deep >> 8)


def test_alpha_is_dropped() -> None:
    image = Image.fromarray(gradient())
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    np.testing.assert_array_equal(WHOLE.decode(encode(image, "PNG")), gradient())


def test_a_palette_gives_its_colours() -> None:
    image = Image.fromarray(gradient()).quantize(16)
    for transparency in (None, 3, bytes(range(16))):
        options = {} if transparency is None else {"transparency": transparency}
        pixels = WHOLE.decode(encode(image, "PNG", **options))
        np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))


def test_cmyk_is_ink_taken_from_white() -> None:
    ink = np.dstack([gradient(), np.full((60, 81), 40, np.uint8)])
    decoded = WHOLE.decode(encode(Image.fromarray(ink, "CMYK"), "JPEG", quality=100)).astype(int)
    expected = (255 - ink[:, :, :3].astype(int)) * (255 - 40) // 255
    assert np.abs(decoded - expected).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_before_anything_else(orientation: int) -> None:
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = Image.fromarray(gradient())
    stored = upright.transpose(turns[orientation]) if orientation in turns else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(stored, "PNG", exif=exif)
    header = read_header(data)
    assert (header.width, header.height) == upright.size
    np.testing.assert_array_equal(WHOLE.decode(data), gradient())


def test_stretch_ignores_the_aspect_ratio() -> None:
    transform = Transform(resize=Stretch(height=20, width=50), crop=Size(height=20, width=50))
    expected = Image.fromarray(gradient()).resize((50, 20), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(transform.from_rgb(gradient()), np.asarray(expected))


@pytest.mark.parametrize(("width", "height"), [(90, 60), (60, 90)])
def test_shorter_side_keeps_the_aspect_ratio(width: int, height: int) -> None:
    rgb = gradient(width, height)
    transform = Transform(resize=ShorterSide(pixels=40), crop=Size(height=32, width=32))
    resized = Image.fromarray(rgb).resize(
        (width * 2 // 3, height * 2 // 3), Image.Resampling.BILINEAR
    )
    left, top = (resized.width - 32) // 2, (resized.height - 32) // 2
    expected = np.asarray(resized.crop((left, top, left + 32, top + 32))).astype(int)
    assert np.abs(transform.from_rgb(rgb) - expected).max() <= 1


@pytest.mark.parametrize(
    ("kernel", "antialias"), [("bilinear", True), ("bilinear", False), ("bicubic", True)]
)
def test_a_resize_to_the_same_size_leaves_only_the_crop(kernel: str, antialias: bool) -> None:
    stretch, crop = Stretch(height=60, width=81), Size(height=33, width=20)
    transform = Transform(resize=stretch, crop=crop, kernel=kernel, antialias=antialias)
    np.testing.assert_array_equal(transform.from_rgb(gradient()), gradient()[13:46, 30:50])


def test_encoded_and_raw_pixels_go_the_same_way() -> None:
    data = encode(Image.fromarray(gradient(123, 77)), "PNG")
    for transform in TRANSFORMS:
        raw = transform.from_rgb(gradient(123, 77))
        np.testing.assert_array_equal(transform.decode(data), raw)


@pytest.mark.parametrize(
    "rgb",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
    ids=["grey", "alpha", "empty", "float"],
)
def test_raw_pixels_of_another_form_are_refused(rgb: Pixels) -> None:
    with pytest.raises(ImageError, match=r"must be uint8 \(height, width, 3\), got"):
        WHOLE.from_rgb(rgb)


def test_the_header_tells_the_size_without_decoding() -> None:
    small = encode(Image.new("1", (8, 8)), "PNG")
    header = b"IHDR" + struct.pack(">II", 30_000, 20_000) + small[24:29]
    huge = small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
    assert read_header(huge) == ("PNG", 30_000, 20_000)
    assert read_header(huge).pixels == 600_000_000


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"", "empty"),
        (b"no image at all", "15 bytes are not an image in one of the formats JPEG, PNG"),
        (
            encode(Image.new("RGB", (8, 8)), "GIF"),
            "in GIF, which is not read; save it as one of JPEG",
        ),
        (encode(Image.new("RGB", (8, 8)), "TIFF"), "in TIFF, which is not read"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "in HEIC, which is not read"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "16 bytes are not an image"),
        (read("rgb.png")[:3000], "cannot be decoded"),
        (read("baseline.jpg")[:1500], "cannot be decoded"),
        (read("lossy.webp")[:700], "truncated"),
        (read("rgb.bmp")[:3000], "cannot be decoded"),
    ],
    ids=["empty", "text", "gif", "tiff", "heic", "video", "png", "jpeg", "webp", "bmp"],
)
def test_what_is_no_whole_image_is_refused(data: bytes, hint: str) -> None:
    with pytest.raises(ImageError, match=hint):
        WHOLE.decode(data)


def test_damaged_files_raise_nothing_else() -> None:
    chance, messages = random.Random(0), list[str]()
    for name in sorted(DIGESTS) * 40:
        data = bytearray(read(name))
        for _ in range(chance.randint(1, 5)):
            data[chance.randrange(chance.choice((40, 200, len(data))))] = chance.randrange(256)
        try:
            if read_header(bytes(data)).pixels < 1_000_000:
                WHOLE.decode(bytes(data))
        except ImageError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert all(messages)


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"resize": {"kind": "stretch", "height": 8, "width": 8}}, "crop of 10 x 10 does not fit"),
        ({"resize": {"kind": "shorter_side", "pixels": 9}}, "does not fit"),
        ({"resize": {"kind": "fit", "pixels": 9}}, "shorter_side"),
        ({"kernel": "lanczos"}, "bilinear"),
        ({"antialias": False}, "kind shorter_side needs antialias: true; .* must be stretch"),
        (
            {**STRETCH, "kernel": "bicubic", "antialias": False},
            "a bicubic resize of kind stretch needs antialias: true; .* the kernel bilinear",
        ),
        ({"mean": [1, 2, 3]}, "Extra inputs"),
    ],
    ids=["stretch", "shorter", "kind", "kernel", "no antialias", "bicubic", "extra"],
)
def test_a_transform_that_makes_no_sense_is_refused(fields: dict[str, object], hint: str) -> None:
    sound = {"resize": {"kind": "shorter_side", "pixels": 12}, "crop": {"height": 10, "width": 10}}
    Transform.model_validate(sound)
    with pytest.raises(ValidationError, match=hint):
        Transform.model_validate(sound | fields)
