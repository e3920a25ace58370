"""Evaluation counts every image, once, and leaves the network as it was."""

import numpy as np
import pytest
from mindspore import Tensor

from tests.support.checkpoints import NORMALIZATION, stirred
from training.config import TrainConfig
from training.data import normalize
from training.datasets import Dataset
from training.evaluation import Evaluator
from training.metrics import Metrics, hits


def test_hits_among_the_first_and_the_first_five() -> None:
    logits = np.array([[6, 5, 4, 3, 2, 1], [6, 5, 4, 3, 2, 1], [6, 5, 4, 3, 2, 1]])
    assert hits(logits, np.array([0, 4, 5])).tolist() == [1, 2]


def test_the_lines_are_the_upstreams() -> None:
    metrics = Metrics(
        top1=39666 / 49984, top5=46445 / 49984, images=49984, images_per_second=218.14
    )
    assert metrics.lines() == [
        "Inference Performance: 218.14 img/sec",
        "top1_correct=39666, tot=49984,acc=79.36%(TOP1)",
        "top5_correct=46445, tot=49984,acc=92.92%(TOP5)",
    ]


@pytest.mark.parametrize("batch_size", [10, 4])
def test_the_last_batch_counts_whole_and_only_once(
    test_set: Dataset, smoke: TrainConfig, batch_size: int
) -> None:
    net = stirred("tiny", 10).set_train()
    metrics = Evaluator(net, test_set, smoke.transform, NORMALIZATION, batch_size, 10).evaluate()
    assert net.training
    pixels = np.stack([test_set.rgb(i) for i in range(10)])
    logits = net.set_train(False)(Tensor(normalize(pixels, NORMALIZATION))).asnumpy()
    labels = np.array([test_set.label(i) for i in range(10)])
    assert metrics.images == 10
    assert [metrics.top1, metrics.top5] == (hits(logits, labels) / 10).tolist()
    assert metrics.images_per_second > 0
