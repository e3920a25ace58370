"""Weights of classes, by their sizes or as they are set."""

import logging

import numpy as np
import pytest

from training.data.class_weights import balanced, class_weights
from training.errors import DatasetError
from training.settings.train_config import TrainConfig

LABELS = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2], np.int32)
NAMES = ["ant", "bee", "cat"]


def test_balanced_classes_weigh_the_same_and_images_one_on_average(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    weights = class_weights(TrainConfig(class_weights="balanced"), LABELS, NAMES)
    assert weights is not None
    np.testing.assert_allclose(weights, [0.5, 1.5, 3], rtol=1e-6)
    np.testing.assert_allclose(weights * np.bincount(LABELS), [3, 3, 3], rtol=1e-6)
    assert weights[LABELS].mean() == pytest.approx(1)
    assert "class weights: ant 0.5, bee 1.5, cat 3" in caplog.text


def test_a_class_without_images_counts_for_nothing() -> None:
    np.testing.assert_allclose(balanced(np.array([4, 0, 12])), [2, 0, 2 / 3], rtol=1e-6)


def test_weights_can_be_set_and_are_off_unless_they_are() -> None:
    weights = class_weights(TrainConfig(class_weights=(1, 2, 0.5)), LABELS, NAMES)
    np.testing.assert_array_equal(weights, np.float32([1, 2, 0.5]))
    assert class_weights(TrainConfig(), LABELS, NAMES) is None
    message = "class_weights has 2 numbers, but there are 3 classes: ant, bee, cat"
    with pytest.raises(DatasetError, match=message):
        class_weights(TrainConfig(class_weights=(1, 2)), LABELS, NAMES)
