"""The transform's other kinds: another resampler, and decoding at a reduced scale."""

import io
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cykooz_resizer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from pydantic import ValidationError

from benchmarks.photos import photo
from images import resampling
from images.decoders import ImageError, Pixels, decode_picture
from images.limits import ImageLimits
from images.transform import ShorterSide, Size, Stretch, Transform
from tests.support.image_files import encoded, rough

SQUARE = Size(height=28, width=28)
USUAL = Transform(resize=ShorterSide(pixels=32), crop=SQUARE)
FAST = USUAL.model_copy(update={"resampler": "fast_image_resize"})
REDUCED = USUAL.model_copy(update={"decoding": "reduced"})
BOTH = FAST.model_copy(update={"decoding": "reduced"})
FILES = [
    ("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "L"), ("PNG", "P"),
    ("WEBP", "RGB"), ("BMP", "RGB"),
]  # fmt: skip


def through_pillow(data: bytes, reduction: int) -> Pixels:
    """Return what Pillow alone makes of an upright JPEG of which it decodes a smaller one.

    In two calls, along rows first: its versions differ in the order.
    """
    image = Image.open(io.BytesIO(data))
    full = image.size
    image.draft(image.mode, (full[0] // reduction, full[1] // reduction))
    assert image.size == (full[0] // reduction, full[1] // reduction)
    width, height = USUAL.resize.resized(*full)
    left, top = ((width - 28) // 2, (height - 28) // 2)
    across = full[0] / width / reduction
    down = full[1] / height / reduction
    rows = image.convert("RGB").resize(
        (28, image.height),
        Image.Resampling.BILINEAR,
        (left * across, 0, (left + 28) * across, image.height),
    )
    box = 0, top * down, 28, (top + 28) * down
    return np.asarray(rows.resize((28, 28), Image.Resampling.BILINEAR, box))


def difference(a: Pixels, b: Pixels) -> int:
    return int(np.abs(a.astype(int) - b).max())


@settings(max_examples=60)
@given(
    st.sampled_from(FILES), st.integers(1, 8), st.integers(1, 300), st.integers(1, 300),
    st.booleans(),
)  # fmt: skip
def test_fast_image_resize_is_within_one_of_pillow(
    file: tuple[str, str], orientation: int, width: int, height: int, stretches: bool
) -> None:
    resize = Stretch(height=40, width=33) if stretches else ShorterSide(pixels=32)
    usual = USUAL.model_copy(update={"resize": resize})
    fast = usual.model_copy(update={"resampler": "fast_image_resize"})
    data = encoded(rough(width, width, height), *file, orientation)
    assert difference(fast.decode(data), usual.decode(data)) <= 1
    raw = rough(height, width, height)
    assert difference(fast.from_rgb(raw), usual.from_rgb(raw)) <= 1


def test_fast_image_resize_is_hardly_ever_more_than_one_from_pillow() -> None:
    usual = Transform(resize=ShorterSide(pixels=224), crop=Size(height=224, width=224))
    fast = usual.model_copy(update={"resampler": "fast_image_resize"})
    noise = [np.random.default_rng(n).integers(0, 256, (64, 64, 3), np.uint8) for n in range(20)]
    far = [np.abs(usual.from_rgb(n).astype(int) - fast.from_rgb(n)) for n in noise]
    assert np.max(far) == 2
    assert np.mean(np.array(far) > 1) < 1e-5


def test_threads_do_not_disturb_each_other() -> None:
    files = [encoded(photo(seed, 160 + 40 * seed, 256)) for seed in range(8)] * 6
    for transform in (FAST, BOTH):
        expected = [transform.decode(data) for data in files]
        with ThreadPoolExecutor(4) as pool:
            np.testing.assert_array_equal(list(pool.map(transform.decode, files)), expected)


@pytest.fixture
def fresh_library() -> Iterator[None]:
    resampling.resample.cache_clear()
    yield
    resampling.resample.cache_clear()


@pytest.mark.usefixtures("fresh_library")
def test_its_pixels_are_the_same_on_any_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [rough(seed, 37 * seed + 5, 290 - 31 * seed) for seed in range(9)]
    files = [encoded(photo(seed, 97, 61), mode="L", orientation=seed + 1) for seed in range(8)]
    used = []

    def pixels(extensions: cykooz_resizer.CpuExtensions | None) -> list[Pixels]:
        class Resizer(cykooz_resizer.Resizer):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                if extensions:
                    self.cpu_extensions = extensions
                used.append(self.cpu_extensions)

        with monkeypatch.context() as patch:
            patch.setattr(cykooz_resizer, "Resizer", Resizer)
            resampling.resample.cache_clear()
            return [FAST.from_rgb(i) for i in images] + [FAST.decode(data) for data in files]

    plain = pixels(cykooz_resizer.CpuExtensions.none)
    best = pixels(None)
    np.testing.assert_array_equal(best, plain)
    names = {extensions.name for extensions in used}
    assert len(names) == 2
    if used[-1] is cykooz_resizer.CpuExtensions.avx2:
        np.testing.assert_array_equal(pixels(cykooz_resizer.CpuExtensions.sse4_1), plain)


@pytest.mark.usefixtures("fresh_library")
def test_an_installation_without_the_library_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cykooz_resizer", None)
    with pytest.raises(ImageError, match=r"cykooz.resizer, which is not installed.*--resampler"):
        FAST.decode(encoded(photo(1, 97, 61)))
    USUAL.decode(encoded(photo(1, 97, 61)))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    ("width", "height", "reduction"),
    [
        (520, 512, 8), (520, 504, 4), (1024, 520, 8), (520, 1024, 8), (256, 300, 4), (252, 256, 2),
        (128, 200, 2), (126, 128, 1), (1000, 513, 1), (513, 512, 1), (516, 516, 4), (514, 514, 2),
        (28, 28, 1), (2, 2, 1),
    ],
)  # fmt: skip
def test_the_smallest_scale_that_leaves_twice_the_size_is_decoded(
    width: int, height: int, reduction: int, mode: str
) -> None:
    data = encoded(photo(width, width, height), mode=mode)
    picture = decode_picture(data, reduction=REDUCED._reduction)
    assert (picture.reduction, picture.size) == (reduction, (width, height))
    assert picture.samples.shape[:2] == (height // reduction, width // reduction)
    assert REDUCED.reduces(data) == (reduction > 1)
    assert not USUAL.reduces(data)
    if min(width, height) > 28:
        np.testing.assert_array_equal(REDUCED.decode(data), through_pillow(data, reduction))
    assert difference(BOTH.decode(data), REDUCED.decode(data)) <= 1
    assert difference(REDUCED.decode(data), USUAL.decode(data)) <= (24 if reduction > 1 else 0)


@settings(max_examples=40)
@given(st.integers(1, 8), st.integers(30, 700), st.integers(30, 700), st.sampled_from([1, 2, 4, 8]))
def test_a_turned_photo_shows_the_same_in_less_detail(
    orientation: int, width: int, height: int, multiple: int
) -> None:
    width, height = (side // multiple * multiple for side in (width, height))
    y, x = np.mgrid[0:height, 0:width]
    smooth = np.stack([x * 255 / width, y * 255 / height, (x + y) % 200 / 2 + 60], -1)
    data = encoded(smooth.astype(np.uint8), orientation=orientation)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    picture = decode_picture(data, reduction=REDUCED._reduction)
    assert picture.size == upright.size
    assert np.abs(REDUCED.decode(data).astype(int) - USUAL.decode(data)).mean() < 3


@pytest.mark.parametrize("file", FILES[2:])
def test_other_files_are_decoded_fully(file: tuple[str, str]) -> None:
    data = encoded(photo(1, 512, 512), *file)
    assert not REDUCED.reduces(data)
    np.testing.assert_array_equal(REDUCED.decode(data), USUAL.decode(data))


def test_a_reduced_photo_has_the_same_limits() -> None:
    data = encoded(photo(1, 512, 512))
    for limits, name in (
        (ImageLimits(max_image_pixels=512 * 511), "max_image_pixels"),
        (ImageLimits(max_image_ms=1), "max_image_ms"),
        (ImageLimits(max_image_mib=8), "max_image_mib"),
    ):
        with pytest.raises(ImageError, match=name):
            REDUCED.decode(data, limits)
    with pytest.raises(ImageError, match="truncated"):
        REDUCED.decode(data[:-3000])


def test_only_what_is_unusual_is_written() -> None:
    assert USUAL.model_dump().keys() == {"resize", "crop", "kernel", "antialias"}
    for transform in (USUAL, FAST, REDUCED, BOTH):
        assert Transform.model_validate_json(transform.model_dump_json()) == transform
    assert '"resampler":"fast_image_resize","decoding":"reduced"' in BOTH.model_dump_json()


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"resampler": "fast_image_resize", "kernel": "bicubic"}, "has no bicubic kernel"),
        ({"resampler": "fast_image_resize", "antialias": False}, "state antialias: true"),
        ({"decoding": "reduced", "antialias": False}, "no reduced decoding"),
        ({"decoding": "draft"}, "'full' or 'reduced'"),
    ],
)
def test_kinds_that_do_not_fit_are_refused(fields: dict[str, object], hint: str) -> None:
    stretch = {"resize": {"kind": "stretch", "height": 28, "width": 28}}
    with pytest.raises(ValidationError, match=hint):
        Transform.model_validate(USUAL.model_dump() | stretch | fields)
