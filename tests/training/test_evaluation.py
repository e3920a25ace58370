"""Evaluation counts every image, once, and leaves the network as it was."""

from pathlib import Path

import mindspore
import numpy as np
import pytest
from mindspore import Tensor, ops

from tests.support.checkpoints import NORMALIZATION, stirred
from tests.training.data.test_datasets import image_folder
from training.data.batches import labels as all_labels
from training.data.batches import normalize, share_of_each_class
from training.data.dataset import Dataset
from training.data.datasets import open_dataset
from training.data.files import FileDataset
from training.errors import BrokenImageError, DivergedError, OutputError
from training.evaluation import ClassAccuracy, EvaluationReport, Evaluator, images_per_second
from training.metrics import Evaluation, Metrics, Tally
from training.settings.train_config import TrainConfig


def test_answers_are_counted_by_class_and_what_they_were_taken_for() -> None:
    tally = Tally.of(np.array([[6, 5, 4, 3, 2, 1]] * 3), np.array([0, 4, 5]), 6)
    assert tally.results == (1, 2, 3)
    assert np.argwhere(tally.confusion).tolist() == [[0, 0], [4, 0], [5, 0]]
    assert tally.top5.tolist() == [1, 0, 0, 0, 1, 0]
    assert (tally + tally).results == (2, 4, 6)


def test_what_each_process_counted_stands_before_what_all_did() -> None:
    own = Tally(np.diag([39666, 10318]), np.array([39666, 6779]))
    lines = Evaluation(own, own + own, 218.14).lines()
    assert lines[1] == "before results=[[49984], [46445], [49984]]"
    assert lines[2] == "after results=[[99968] [92890] [99968]]"
    assert [line[:10] for line in lines[3:]] == ["after allr"] * 2


def test_the_lines_are_the_upstreams() -> None:
    metrics = Metrics(
        top1=39666 / 49984, top5=46445 / 49984, images=49984, images_per_second=218.14
    )
    assert metrics.lines() == [
        "Inference Performance: 218.14 img/sec",
        "after allreduce eval: top1_correct=39666, tot=49984,acc=79.36%(TOP1)",
        "after allreduce eval: top5_correct=46445, tot=49984,acc=92.92%(TOP5)",
    ]


def test_a_report_that_cannot_be_written_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    report = EvaluationReport(
        checkpoint="best_acc.ckpt",
        data="images",
        metrics=Metrics(top1=1.0, top5=1.0, images=1, images_per_second=1.0),
        images_per_second=1.0,
        classes=[ClassAccuracy(name="boot", images=1, top1=1.0, top5=1.0)],
        confusion=[(0, 0, 1)],
    )
    with pytest.raises(OutputError, match=r"cannot write .*/best_acc.png: .*--report-path"):
        report.write(tmp_path / "file", "best_acc")


@pytest.mark.parametrize("batch_size", [10, 4])
def test_the_last_batch_counts_whole_and_only_once(
    test_set: Dataset, smoke: TrainConfig, batch_size: int
) -> None:
    net = stirred("tiny", 10).set_train()
    config = smoke.model_copy(update={"eval_images": 10})
    evaluation = Evaluator(net, test_set, config.transform, NORMALIZATION, batch_size, config)
    metrics = evaluation.evaluate().metrics
    assert net.training
    chosen = share_of_each_class(all_labels(test_set), 10)
    pixels = np.stack([test_set.rgb(i) for i in chosen])
    logits = net.set_train(False)(Tensor(normalize(pixels, NORMALIZATION))).asnumpy()
    labels = np.array([test_set.label(i) for i in chosen])
    assert sorted(labels) == list(range(10))
    assert metrics.images == 10
    right = Tally.of(logits, labels, 10).results
    assert [metrics.top1, metrics.top5] == [right[0] / 10, right[1] / 10]
    assert metrics.images_per_second > 0
    losses = ops.cross_entropy(Tensor(logits), Tensor(labels, mindspore.int32))
    assert metrics.loss == pytest.approx(float(losses), rel=1e-5)


def test_a_broken_image_is_named_and_not_counted(
    tmp_path: Path, smoke: TrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    broken = image_folder(tmp_path, list("abcdefghij")) / "d/1.png"
    broken.write_bytes(b"no image")
    dataset = open_dataset(tmp_path, "test")
    net, config = stirred("tiny", 10), smoke.model_copy(update={"eval_images": None})
    parts = (net, dataset, smoke.transform, NORMALIZATION, 16)
    with pytest.raises(BrokenImageError, match=r"d/1.png is not a readable image"):
        Evaluator(*parts, config).evaluate()
    skipping = config.model_copy(update={"on_broken_image": "skip"})
    tally = Evaluator(*parts, skipping).evaluate().whole
    assert tally.confusion.sum(axis=1).tolist() == [1, 2, 3, 3, 5, 6, 7, 8, 9, 10]
    assert f"skipped: {broken}" in caplog.text


def test_two_processes_count_each_image_once(test_set: Dataset, smoke: TrainConfig) -> None:
    net, changes = stirred("tiny", 10), {"eval_images": 11, "is_distributed": True}
    shares = []
    for rank in (0, 1):
        config = smoke.model_copy(update=changes | {"rank": rank, "group_size": 2})
        evaluator = Evaluator(net, test_set, smoke.transform, NORMALIZATION, 4, config)
        shares.append(np.concatenate([i[known] for _, i, known in evaluator._batches()]))
    chosen = share_of_each_class(all_labels(test_set), 11)
    assert sorted(np.concatenate(shares).tolist()) == chosen.tolist()


@pytest.mark.parametrize(("images", "own"), [(9, [2, 1]), (11, [2, 2]), (1, [1, 0])])
def test_every_process_has_the_common_batches(
    test_set: Dataset, smoke: TrainConfig, images: int, own: list[int]
) -> None:
    net, changes = stirred("tiny", 10), {"eval_images": images, "is_distributed": True}
    found = []
    for rank in (0, 1):
        config = smoke.model_copy(update=changes | {"rank": rank, "group_size": 2})
        evaluator = Evaluator(net, test_set, smoke.transform, NORMALIZATION, 4, config)
        assert evaluator.common_batches == min(own)
        assert len(list(evaluator._batches())) == evaluator.batches
        found.append(evaluator.batches)
    assert found == own


@pytest.mark.parametrize(
    ("ends", "speed"),
    [
        ([10.0, 70.0, 71.0, 74.0], 2 * 32 / 4),  # the first minute compiled
        ([10.0, 70.0], 32 / 60),
        ([10.0], 0.0),  # a process without a share of the images
    ],
)
def test_the_first_batch_counts_only_if_it_is_alone(ends: list[float], speed: float) -> None:
    assert images_per_second(ends, 32) == pytest.approx(speed)


def test_outputs_that_are_not_numbers_are_no_accuracy(
    test_set: Dataset, smoke: TrainConfig
) -> None:
    net = stirred("tiny", 10).set_train()
    net.head.fc.bias.set_data(Tensor(np.full(10, np.nan, np.float32)))
    evaluator = Evaluator(net, test_set, smoke.transform, NORMALIZATION, 4, smoke)
    with pytest.raises(DivergedError, match=r"outputs for .*t10k.*, image \d+ are not numbers"):
        evaluator.evaluate()
    assert net.training


def test_what_did_not_occur_is_left_out_of_the_confusion(tmp_path: Path) -> None:
    """A thousand classes and 50,000 answers, each wrong in another way: below a megabyte."""
    confusion = np.zeros((1000, 1000), np.int64)
    rng = np.random.default_rng(1)
    np.add.at(confusion, (np.arange(50_000) % 1000, rng.integers(0, 1000, 50_000)), 1)
    tally = Tally(confusion, np.zeros(1000, np.int64))
    dataset = FileDataset.of_files(tmp_path, [], [], [f"n{i:08}" for i in range(1000)])
    report = EvaluationReport.of(tmp_path / "a.ckpt", dataset, Evaluation(tally, tally, 1.0))
    report.write(tmp_path, "a")
    assert (tmp_path / "a.json").stat().st_size < 1_000_000
    found = EvaluationReport.model_validate_json((tmp_path / "a.json").read_bytes())
    again = np.zeros_like(confusion)
    for i, j, count in found.confusion:
        again[i, j] = count
    np.testing.assert_array_equal(again, confusion)
