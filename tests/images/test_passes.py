"""In which order a resize makes its two passes, and what that means for turned images."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from images import resampling
from images.decoders import KEPT_BYTES, Pixels, decode
from images.transform import ShorterSide, Size, Stretch, Transform
from tests.support.image_files import encoded, rough

CROP = Size(height=28, width=28)
USUAL = Transform(resize=ShorterSide(pixels=32), crop=CROP)
TRANSFORMS = {
    "usual": USUAL,
    "bicubic": USUAL.model_copy(update={"kernel": "bicubic"}),
    "fast": USUAL.model_copy(update={"resampler": "fast_image_resize"}),
    "stretched": USUAL.model_copy(update={"resize": Stretch(height=40, width=33)}),
    "fixed": USUAL.model_copy(
        update={"resize": Stretch(height=40, width=33), "antialias": False}
    ),
    "enlarged": Transform(resize=ShorterSide(pixels=300), crop=Size(height=224, width=280)),
    "fast, enlarged": Transform(
        resize=ShorterSide(pixels=300),
        crop=Size(height=224, width=280),
        resampler="fast_image_resize",
    ),
}  # fmt: skip
# What makes an upright image of a stored one, by EXIF's orientation.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDES = st.integers(1, 300)


@pytest.mark.parametrize("name", TRANSFORMS)
@settings(max_examples=25)
@given(st.sampled_from(sorted(TURNS)), SIDES, SIDES, st.sampled_from(["RGB", "L", "RGBA"]))
@example(6, 300, 2, "RGB")
@example(5, 2, 300, "RGB")
def test_a_turned_image_has_the_pixels_of_an_upright_one(
    name: str, orientation: int, width: int, height: int, mode: str
) -> None:
    stored = rough(1, width, height)
    upright = np.asarray(Image.fromarray(stored).transpose(TURNS[orientation]))
    turned = TRANSFORMS[name].decode(encoded(stored, "PNG", mode, orientation))
    np.testing.assert_array_equal(turned, TRANSFORMS[name].decode(encoded(upright, "PNG", mode)))


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("orientation", TURNS)
def test_a_turned_photo_has_the_pixels_of_an_upright_one(name: str, orientation: int) -> None:
    data = encoded(rough(1, 1700, 700), orientation=orientation)
    assert 1700 * 700 * 4 in KEPT_BYTES
    expected = TRANSFORMS[name].from_rgb(decode(data))
    np.testing.assert_array_equal(TRANSFORMS[name].decode(data), expected)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("size", [(170, 70), (30, 700)])
def test_strips_do_not_show(
    name: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [encoded(rough(1, *size), "PNG", orientation=number) for number in (1, 6)]
    expected = [TRANSFORMS[name].decode(data) for data in files]
    monkeypatch.setattr(resampling, "STRIP_BYTES", 20_000)
    np.testing.assert_array_equal([TRANSFORMS[name].decode(data) for data in files], expected)


def resized(rgb: Pixels, *, rows_first: bool) -> Pixels:
    """Return the pixels that two calls of Pillow give, of which each is one pass."""
    image, bilinear = Image.fromarray(rgb), Image.Resampling.BILINEAR
    between = (33, image.height) if rows_first else (image.width, 40)
    return np.asarray(image.resize(between, bilinear).resize((33, 40), bilinear))


@settings(max_examples=100)
@given(SIDES, st.integers(1, 900))
@example(1, 101)
@example(8, 900)
@example(9, 900)
def test_the_order_of_passes_is_that_of_pillow_12_2(width: int, height: int) -> None:
    stretch = Transform(resize=Stretch(height=40, width=33), crop=Size(height=40, width=33))
    rows_first = height <= 100 * width or height <= 40
    rgb = rough(1, width, height)
    np.testing.assert_array_equal(stretch.from_rgb(rgb), resized(rgb, rows_first=rows_first))


def test_the_order_of_passes_is_to_be_seen() -> None:
    rgb = rough(1, 40, 900)
    along_rows, along_columns = resized(rgb, rows_first=True), resized(rgb, rows_first=False)
    assert np.mean(along_rows != along_columns) > 0.1
