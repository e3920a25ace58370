"""simplejpeg decodes plain JPEGs; whatever it does must be what Pillow would have done."""

import io
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks.photos import jpeg, photo
from images import decoders
from images.decoders import ImageError, Pixels, configure, decode, decode_picture
from images.transform import ShorterSide, Size, Stretch, Transform

SAMPLING = {
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "4:4:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "4:1:1": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411,
}


def pillow(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def saved(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("quality", [30, 75, 90, 100])
@pytest.mark.parametrize("sampling", SAMPLING)
@pytest.mark.parametrize(("width", "height"), [(97, 61), (64, 120), (16, 1), (2, 3)])
def test_both_decoders_give_the_same_pixels(
    width: int, height: int, sampling: str, quality: int
) -> None:
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
    flags += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLING[sampling]]
    data = cv2.imencode(".jpg", photo(quality, width, height), flags)[1].tobytes()
    np.testing.assert_array_equal(decode(data), pillow(data))


@pytest.mark.parametrize(
    "data",
    [
        saved(Image.fromarray(photo(1, 97, 61)), progressive=True),
        saved(Image.fromarray(photo(2, 97, 61)).convert("L")),
        saved(Image.fromarray(photo(3, 97, 61)), keep_rgb=True),
        saved(Image.fromarray(photo(4, 97, 61)).convert("CMYK")),
        saved(Image.fromarray(photo(5, 97, 61)), restart_marker_rows=1),
        jpeg(photo(6, 97, 61)) + b"what some cameras append",
    ],
    ids=["progressive", "grey", "stored as RGB", "CMYK", "restart markers", "appendix"],
)
def test_and_of_less_common_files(data: bytes) -> None:
    np.testing.assert_array_equal(decode(data), pillow(data))


def test_a_plain_jpeg_does_not_pass_through_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg(photo(0))
    expected = pillow(data)
    monkeypatch.delattr(Image.Image, "convert")
    np.testing.assert_array_equal(decode(data), expected)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.999])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_file_is_refused(kept: float, progressive: bool) -> None:
    data = saved(Image.fromarray(photo(7)), quality=90, progressive=progressive)
    with pytest.raises(ImageError, match="truncated"):
        decode(data[: int(len(data) * kept)])


def test_damaged_pixels_are_the_same_ones_too() -> None:
    chance = np.random.default_rng(0)
    sound = jpeg(photo(8, 97, 61))
    start = sound.index(b"\xff\xda")
    outcomes = []
    for _ in range(300):
        damaged = bytearray(sound)
        damaged[chance.integers(start + 14, len(sound))] ^= 1 << chance.integers(8)
        try:
            expected = pillow(bytes(damaged))
        except OSError:
            with pytest.raises(ImageError):
                decode(bytes(damaged))
            outcomes.append("refused")
        else:
            np.testing.assert_array_equal(decode(bytes(damaged)), expected)
            outcomes.append("equal")
    assert set(outcomes) == {"refused", "equal"}


def test_a_program_that_configures_nothing_is_refused_as_politely(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    data = saved(Image.fromarray(photo(9, 97, 61)).convert("CMYK"))
    with pytest.raises(ImageError, match=r"too large for Pillow .* exceeds limit of 2000 pix"):
        decode(data)


def test_without_configuration_the_pixels_are_the_same() -> None:
    threads = cv2.getNumThreads()
    transform = Transform(
        resize=Stretch(height=256, width=256), crop=Size(height=224, width=224), antialias=False
    )
    rgb = photo(10, 1200, 900)
    expected = transform.from_rgb(rgb)
    try:
        cv2.setNumThreads(4)
        np.testing.assert_array_equal(transform.from_rgb(rgb), expected)
    finally:
        cv2.setNumThreads(threads)


def test_a_program_that_decodes_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    threads = cv2.getNumThreads()
    configure()
    assert Image.MAX_IMAGE_PIXELS is None
    assert cv2.getNumThreads() == threads == 1


CROP = Size(height=224, width=224)
THUMBNAIL = Transform(resize=ShorterSide(pixels=256), crop=CROP)


@pytest.fixture(scope="module")
def large() -> list[bytes]:
    sizes = (1500, 1100), (1300, 900), (1400, 1200)
    return [jpeg(photo(seed, *size)) for seed, size in enumerate(sizes)]


@pytest.mark.parametrize(
    "transform",
    [
        THUMBNAIL,
        THUMBNAIL.model_copy(update={"resampler": "fast_image_resize"}),
        Transform(resize=Stretch(height=1100, width=1500), crop=Size(height=1000, width=1500)),
    ],
    ids=["pillow", "fast", "not resized"],
)
def test_large_photos_that_share_memory_do_not_show_each_other(
    transform: Transform, large: list[bytes]
) -> None:
    expected = [transform.from_rgb(decode(data)) for data in large]
    shown = [transform.decode(data) for data in large]
    again = [transform.decode(data) for data in reversed(large)]
    np.testing.assert_array_equal(shown, expected)
    np.testing.assert_array_equal(again[::-1], expected)


def address(data: bytes) -> int:
    return decode_picture(data, padded=True).samples.ctypes.data


def test_a_thread_decodes_large_photos_into_the_same_memory(large: list[bytes]) -> None:
    assert len({address(data) for data in large[:2] * 3}) == 1
    with ThreadPoolExecutor(1) as other:
        assert other.submit(address, large[0]).result() != address(large[0])


def test_what_is_small_or_too_large_has_memory_of_its_own(
    monkeypatch: pytest.MonkeyPatch, large: list[bytes]
) -> None:
    kept = address(large[0])
    assert address(jpeg(photo(1, 1000, 1000))) != kept
    monkeypatch.setattr(decoders, "KEPT_BYTES", range(2**22, 1500 * 1100 * 4))
    assert address(large[0]) != kept


@pytest.mark.parametrize("progressive", [False, True])
def test_a_damaged_photo_shows_nothing_of_the_one_before(*, progressive: bool) -> None:
    damaged = bytearray(saved(Image.fromarray(photo(9, 1500, 1100)), progressive=progressive))
    middle = len(damaged) // 2
    damaged[middle : middle + 4000] = bytes(4000)
    shown = []
    for seed in (1, 2):
        THUMBNAIL.decode(jpeg(np.full((1100, 1500, 3), 255 * (seed - 1), np.uint8)))
        shown.append(THUMBNAIL.decode(bytes(damaged)))
    np.testing.assert_array_equal(*shown)
