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
