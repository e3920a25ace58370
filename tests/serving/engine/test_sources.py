import io

import numpy as np
import pytest

from images.limits import ImageLimits
from serving.engine.sources import Encoded, Raw, Ready, Size
from serving.errors import InvalidImageError
from tests.support.bundles import SIDE, TRANSFORM, photo

LIMITS = ImageLimits()


def encoded(width: int, height: int, form: str = "PNG") -> Encoded:
    buffer = io.BytesIO()
    photo(1, width, height).save(buffer, form)
    return Encoded(buffer.getvalue())


def test_a_size_for_admission() -> None:
    jpeg = encoded(37, 23, "JPEG")
    assert jpeg.size(LIMITS) == Size("JPEG", 37 * 23, len(jpeg.data))
    assert Raw(bytes(64), 8, 8, 1).size(LIMITS) == Size("raw", 64, 64)


def test_what_will_be_refused_undecoded_claims_no_pixels() -> None:
    assert encoded(37, 23, "JPEG").size(ImageLimits(max_image_pixels=800)).pixels == 0
    assert encoded(37, 23, "JPEG").size(ImageLimits(max_image_bytes=100)).pixels == 0
    assert Encoded(b"text").size(LIMITS) == Size("unknown", 0, 4)
    assert Raw(b"", 100_000, 100_000, 3).size(LIMITS).pixels == 0


def test_encoded_and_raw_give_the_same_pixels() -> None:
    rgb = np.asarray(photo(1))
    raw = Raw(rgb.tobytes(), *rgb.shape)
    expected = encoded(40, 30).pixels(TRANSFORM, LIMITS)
    assert expected.shape == (SIDE, SIDE, 3)
    np.testing.assert_array_equal(raw.pixels(TRANSFORM, LIMITS), expected)


def test_grey_is_repeated_to_rgb() -> None:
    grey = np.asarray(photo(1).convert("L"))
    pixels = Raw(grey.tobytes(), *grey.shape, 1).pixels(TRANSFORM, LIMITS)
    expected = TRANSFORM.from_rgb(np.repeat(grey[..., None], 3, axis=2))
    np.testing.assert_array_equal(pixels, expected)


def test_the_size_limit_is_inclusive() -> None:
    assert encoded(10, 10).pixels(TRANSFORM, ImageLimits(max_image_pixels=100)) is not None
    with pytest.raises(
        InvalidImageError, match=r"10 x 11 = 110 pixels; max_image_pixels allows at most 100"
    ):
        encoded(10, 11).pixels(TRANSFORM, ImageLimits(max_image_pixels=100))


def test_a_large_raw_image_is_refused() -> None:
    with pytest.raises(InvalidImageError, match="at most 100"):
        Raw(bytes(330), 11, 10, 3).pixels(TRANSFORM, ImageLimits(max_image_pixels=100))


@pytest.mark.parametrize(
    ("height", "width", "channels"), [(0, 4, 3), (4, 0, 3), (4, 4, 0), (4, 4, 2), (4, 4, 4)]
)
def test_impossible_shapes_are_refused(height: int, width: int, channels: int) -> None:
    with pytest.raises(InvalidImageError, match="channels 1 or 3"):
        Raw(bytes(height * width * channels), height, width, channels).pixels(TRANSFORM, LIMITS)


@pytest.mark.parametrize("length", [0, 47, 49])
def test_a_wrong_number_of_bytes_is_refused_with_the_right_one(length: int) -> None:
    with pytest.raises(InvalidImageError, match=f"48 bytes, but {length} were sent"):
        Raw(bytes(length), 4, 4, 3).pixels(TRANSFORM, LIMITS)


@pytest.mark.parametrize("data", [b"", b"hello", encoded(40, 30).data[:60]])
def test_broken_files_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidImageError, match="image"):
        Encoded(data).pixels(TRANSFORM, LIMITS)


def test_pixels_that_are_ready_are_not_touched() -> None:
    pixels = encoded(40, 30).pixels(TRANSFORM, LIMITS)
    ready = Ready(pixels.tobytes())
    assert ready.size(LIMITS) == Size("ready", SIDE * SIDE, SIDE * SIDE * 3)
    np.testing.assert_array_equal(ready.pixels(TRANSFORM, LIMITS), pixels)


def test_too_few_pixels_are_told_how_many_the_network_takes() -> None:
    with pytest.raises(InvalidImageError, match=r"\(16, 16, 3\) .* 768 bytes, but 5 were sent"):
        Ready(bytes(5)).pixels(TRANSFORM, LIMITS)
