"""Golden images: of every kind, found among those that the model gets right."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bundle.golden import GoldenSet, pixels_digest
from bundle.manifest import Normalization
from export.golden_images import VARIANTS, choose, record, slug, synthetic
from export.original import Original
from images.decoders import read_header
from images.transform import Pixels, Size, Stretch, Transform
from tests.export.images import varied

LABELS = ["T-shirt/top", "Ankle boot", "Bag"]
TRANSFORM = Transform(resize=Stretch(height=28, width=28), crop=Size(height=28, width=28))
NORMALIZATION = Normalization(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class Shades:
    """Thirty images, class i % classes each, as bright as their class times 100."""

    def __init__(self, classes: int = 3) -> None:
        self.class_names, self.classes = LABELS, classes

    def __len__(self) -> int:
        return 30

    def label(self, index: int) -> int:
        return index % self.classes

    def rgb(self, index: int) -> Pixels:
        # The first image of each class is so dark that it is taken for class 0.
        level = 100 * self.label(index) if index >= 3 else 0
        return np.full((28, 28, 3), level, np.uint8)

    def encoded(self, index: int) -> bytes:
        raise NotImplementedError


def by_brightness(pixels: Pixels) -> NDArray[np.float32]:
    """Return probabilities (n, 3): the class is the mean over 100, rounded."""
    classes = np.rint(pixels.mean(axis=(1, 2, 3)) / 100).astype(int).clip(0, 2)
    return np.eye(3, dtype=np.float32)[classes]


ORIGINAL = Original(
    "shades", "0" * 64, LABELS, TRANSFORM, NORMALIZATION, by_brightness, lambda _kind, _path: None
)


def test_the_first_is_a_plain_png() -> None:
    first = choose(Shades(), ORIGINAL)[0]
    assert first.name == "t_shirt_top_0.png"
    with Image.open(io.BytesIO(first.data)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (28, 28))


def test_each_is_of_its_class_and_classified_rightly() -> None:
    images = choose(Shades(), ORIGINAL)
    answers = by_brightness(np.stack([image.pixels for image in images])).argmax(axis=1)
    wanted = [number * 3 // len(VARIANTS) for number in range(len(VARIANTS))]
    assert answers.tolist() == wanted
    assert [image.name.rpartition("_")[0] for image in images] == [slug(LABELS[i]) for i in wanted]


def test_a_class_without_images_is_left_out() -> None:
    images = choose(Shades(classes=2), ORIGINAL)
    names = [image.name.rpartition("_")[0] for image in images]
    assert names == 5 * ["t_shirt_top"] + 5 * ["ankle_boot"]


def test_decode_and_resize_are_exercised() -> None:
    files = [image.data for image in synthetic(TRANSFORM)]
    opened = [Image.open(io.BytesIO(data)) for data in files]
    assert {image.format for image in opened} == {"PNG", "JPEG", "WEBP", "BMP"}
    assert {"RGB", "L", "P", "RGBA", "I;16", "CMYK"} <= {image.mode for image in opened}
    assert len({image.size for image in opened}) >= 6
    turned = [image for image in opened if image.getexif().get(0x0112) == 6]
    assert len(turned) == 1


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_an_encoded_image_still_shows_the_same(variant: object) -> None:
    [smooth] = varied(1, 28)
    number = VARIANTS.index(variant)  # type: ignore[arg-type]
    decoded = TRANSFORM.decode(VARIANTS[number].encode(smooth)).astype(float)
    expected = smooth.astype(float)
    if VARIANTS[number].mode in ("L", "I;16"):
        expected = np.repeat(np.asarray(Image.fromarray(smooth).convert("L"))[..., None], 3, 2)
    assert np.abs(decoded - expected).mean() < 12


def test_large_images_are_made_small() -> None:
    data = VARIANTS[0].encode(np.zeros((600, 900, 3), np.uint8))
    header = read_header(data)
    assert (header.width, header.height) == (192, 128)


def test_synthetic_images_differ_and_are_the_same_each_time() -> None:
    once, twice = synthetic(TRANSFORM), synthetic(TRANSFORM)
    assert [image.data for image in once] == [image.data for image in twice]
    assert len({pixels_digest(image.pixels) for image in once}) == len(VARIANTS)


def test_records_files_pixels_and_answers(tmp_path: Path) -> None:
    images = synthetic(TRANSFORM)
    golden = record(tmp_path, images, ORIGINAL)
    assert GoldenSet.model_validate_json(golden.model_dump_json()) == golden
    assert (golden.labels, golden.transform) == (LABELS, TRANSFORM)
    for image, written in zip(images, golden.images, strict=True):
        pixels = TRANSFORM.decode((tmp_path / written.path).read_bytes())
        assert pixels_digest(pixels) == written.pixels_sha256 == pixels_digest(image.pixels)
        np.testing.assert_array_equal(written.probabilities, by_brightness(pixels[None])[0])


@pytest.mark.parametrize(
    ("label", "expected"),
    [("T-shirt/top", "t_shirt_top"), ("Ankle boot", "ankle_boot"), ("7", "7"), ("猫", "class")],
)
def test_labels_become_file_names(label: str, expected: str) -> None:
    assert slug(label) == expected
