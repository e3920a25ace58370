"""The loss against numbers worked out by hand."""

import math

import numpy as np
import pytest
from mindspore import Tensor

from training.step import SmoothedCrossEntropy

# Softmax gives 1/7, 2/7, 4/7 and 1/3 each.
LOGITS = Tensor(np.array([[0, math.log(2), math.log(4)], [5, 5, 5]], np.float32))
LABELS = Tensor(np.array([2, 0], np.int32))


def test_without_smoothing_it_is_cross_entropy() -> None:
    loss = SmoothedCrossEntropy(3, 0.0)(LOGITS, LABELS)
    assert float(loss) == pytest.approx((math.log(7 / 4) + math.log(3)) / 2, rel=1e-5)


def test_smoothing_is_shared_by_the_other_classes_only() -> None:
    loss = SmoothedCrossEntropy(3, 0.1)(LOGITS, LABELS)
    first = 0.9 * math.log(7 / 4) + 0.05 * math.log(7) + 0.05 * math.log(7 / 2)
    assert float(loss) == pytest.approx((first + math.log(3)) / 2, rel=1e-5)


def test_labels_as_shares_give_the_loss_of_each_in_proportion() -> None:
    shares = Tensor(np.array([[0.3, 0, 0.7], [1, 0, 0]], np.float32))
    for smoothing in (0.0, 0.1):
        criterion = SmoothedCrossEntropy(3, smoothing)
        other = float(criterion(LOGITS, Tensor(np.array([0, 0], np.int32))))
        wanted = 0.7 * float(criterion(LOGITS, LABELS)) + 0.3 * other
        assert float(criterion(LOGITS, shares)) == pytest.approx(wanted, rel=1e-5)
    plain = 0.3 * math.log(7) + 0.7 * math.log(7 / 4) + math.log(3)
    assert float(SmoothedCrossEntropy(3, 0.0)(LOGITS, shares)) == pytest.approx(plain / 2, rel=1e-5)


def test_weights_multiply_the_terms_of_their_classes() -> None:
    criterion = SmoothedCrossEntropy(3, 0.1, np.array([2, 3, 0.5], np.float32))
    first = 0.5 * 0.9 * math.log(7 / 4) + 2 * 0.05 * math.log(7) + 3 * 0.05 * math.log(7 / 2)
    second = (2 * 0.9 + 3 * 0.05 + 0.5 * 0.05) * math.log(3)
    assert float(criterion(LOGITS, LABELS)) == pytest.approx((first + second) / 2, rel=1e-5)
    shares = Tensor(np.eye(3, dtype=np.float32)[[2, 0]])
    assert float(criterion(LOGITS, shares)) == pytest.approx((first + second) / 2, rel=1e-5)
