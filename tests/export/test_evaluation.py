"""Scores against numbers worked out by hand; evaluation sets batch by batch."""

import io
from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image

from export.errors import ExportError
from export.evaluation.image_sets import EvaluationSet, Fingerprint, UnlabelledSet
from export.evaluation.scores import Scores, calibration_error, images_per_class
from images.transform import Pixels, Size, Stretch, Transform
from tests.export.images import varied

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


def test_scores_count_the_first_and_the_first_five() -> None:
    falling = [0.30, 0.20, 0.15, 0.12, 0.10, 0.08, 0.05]
    probabilities = np.array([falling] * 4, np.float32)
    scores = Scores.of(probabilities, np.array([0, 4, 5, 0]))
    assert (scores.top1_correct, scores.top5_correct) == (2, 3)
    assert scores.class_correct == [2, 0, 0, 0, 0, 0, 0]


def test_classes_must_add_up() -> None:
    scores = Scores.of(np.eye(3, dtype=np.float32), np.array([0, 1, 2]))
    with pytest.raises(ValueError, match="class_correct adds up to 3, not to top1_correct, 2"):
        Scores.model_validate(scores.model_dump() | {"top1_correct": 2})


def test_images_are_counted_per_class_where_classes_are_known() -> None:
    assert images_per_class(np.array([2, 0, 2]), 4) == [1, 0, 2, 0]
    assert images_per_class(None, 4) is None


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


def test_calibration_error_is_the_mean_gap_over_the_bins() -> None:
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.6, 0.6], np.float32)
    correct = np.array([True, True, True, False, False, False])
    # Four at 0.9 of which 0.75 are right, two at 0.6 of which none is.
    expected = (4 * 0.15 + 2 * 0.6) / 6
    assert calibration_error(confidence, correct) == pytest.approx(expected)


def test_certain_and_right_has_no_calibration_error() -> None:
    assert calibration_error(np.ones(3, np.float32), np.ones(3, bool)) == 0


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
    images = UnlabelledSet("seven", varied(7, 8))
    assert images.labels is None
    np.testing.assert_array_equal(np.concatenate(list(images.batches(4))), varied(7, 8))
