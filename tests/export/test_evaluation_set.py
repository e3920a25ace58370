"""Evaluation sets, batch by batch."""

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.errors import ExportError
from export.evaluation_set import EvaluationSet, Fingerprint, HeldImages, open_images
from images.transform import Pixels, Size, Stretch, Transform
from tests.export.images import varied
from tests.support.paths import FASHION_MNIST

TRANSFORM = Transform(resize=Stretch(height=8, width=8), crop=Size(height=8, width=8))


@dataclass
class Images:
    """Seven images of two classes; the one at `broken` is no image."""

    broken: int | None = None
    class_names: list[str] = field(default_factory=lambda: ["ant", "bee"])

    def __len__(self) -> int:
        return 7

    def label(self, index: int) -> int:
        return index % 2

    def rgb(self, index: int) -> Pixels:
        return np.asarray(varied(7, 8)[index])

    def encoded(self, index: int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(self.rgb(index)).save(buffer, "PNG")
        return b"?" if index == self.broken else buffer.getvalue()


def test_a_fingerprint_depends_on_pixels_and_classes_but_not_on_batches() -> None:
    images, labels = EvaluationSet("seven", Images(), TRANSFORM), np.array([0, 1, 0, 1, 0, 1, 0])

    def digest(size: int, classes: np.ndarray[tuple[int, ...], np.dtype[np.intp]] | None) -> str:
        fingerprint = Fingerprint()
        np.testing.assert_array_equal(
            np.concatenate(list(fingerprint.of(images.batches(size)))), varied(7, 8)
        )
        return fingerprint.hexdigest(classes)

    assert digest(3, labels) == digest(7, labels)
    assert len({digest(3, labels), digest(3, 1 - labels), digest(3, None)}) == 3


def test_an_evaluation_set_gives_all_its_images_every_time() -> None:
    images = EvaluationSet("seven", Images(), TRANSFORM)
    assert images.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    for _ in range(2):
        batches = list(images.batches(3))
        assert [len(batch) for batch in batches] == [3, 3, 1]
        np.testing.assert_array_equal(np.concatenate(batches), varied(7, 8))


def test_a_broken_image_is_named() -> None:
    images = EvaluationSet("seven", Images(broken=4), TRANSFORM)
    with pytest.raises(ExportError, match="image 4 of seven: 1 bytes are not an image"):
        list(images.batches(3))


def test_an_unlabelled_set_gives_its_pixels() -> None:
    images = HeldImages("seven", varied(7, 8))
    assert images.labels is None
    np.testing.assert_array_equal(np.concatenate(list(images.batches(4))), varied(7, 8))


def test_folders_are_classes_by_name_in_any_order_and_not_for_every_label(tmp_path: Path) -> None:
    save_images(tmp_path, ["ant", "wasp"])
    images = open_images(tmp_path, ["wasp", "bee", "ant", "cat"], TRANSFORM)
    assert images.labels is not None
    assert images.labels.tolist() == [2, 0]
    assert images.dataset.class_names == ["wasp", "bee", "ant", "cat"]


@pytest.mark.parametrize(
    ("labels", "hint"),
    [
        (["ant", "bee", "cow", "cat"], "'wasp' in .* is not among .*, 'ant', 'bee', 'cow', and 1 "),
        (["ant", "wasp", "wasp"], "'wasp' in .* is twice among"),
    ],
)
def test_a_folder_is_the_name_of_one_label(tmp_path: Path, labels: list[str], hint: str) -> None:
    save_images(tmp_path, ["ant", "wasp"])
    with pytest.raises(ExportError, match=hint):
        open_images(tmp_path, labels, TRANSFORM)


def test_files_without_names_must_have_the_labels() -> None:
    with pytest.raises(
        ExportError, match=r"fashion-mnist/t10k\S+ are 'T-shirt/top', .* 'ant', 'bee'$"
    ):
        open_images(FASHION_MNIST, ["ant", "bee"], TRANSFORM)


def save_images(folder: Path, classes: list[str]) -> None:
    for name in classes:
        (folder / name).mkdir()
        Image.fromarray(varied(1, 8)[0]).save(folder / name / "0.png")
