"""Scores against numbers worked out by hand."""

import numpy as np
import pytest

from export.evaluation_set import Scores, calibration_error, images_per_class


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


def test_calibration_error_is_the_mean_gap_over_the_bins() -> None:
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.6, 0.6], np.float32)
    correct = np.array([True, True, True, False, False, False])
    # Four at 0.9 of which 0.75 are right, two at 0.6 of which none is.
    expected = (4 * 0.15 + 2 * 0.6) / 6
    assert calibration_error(confidence, correct) == pytest.approx(expected)


def test_certain_and_right_has_no_calibration_error() -> None:
    assert calibration_error(np.ones(3, np.float32), np.ones(3, bool)) == 0
