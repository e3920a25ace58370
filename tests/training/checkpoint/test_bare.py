"""Weights of torchvision, timm and mindcv: read by name, every one once, with their pooling."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor, nn
from safetensors.numpy import save_file

from bundle.preparation import IMAGENET_PREPARATION
from images.transform import ShorterSide
from tests.support.checkpoints import DIGITS, POOLED, stirred, write_checkpoint
from tests.support.others import Parameters, as_mindcv, as_torch
from tests.support.paths import FASHION_MNIST
from tests.support.torch import write_state_dict
from tests.support.upstream import grouped
from tests.training.checkpoint.test_upstream import write
from training.architectures import ARCHITECTURES, Pooling
from training.checkpoint import checkpoints
from training.checkpoint.bare import load_network
from training.checkpoint.networks import initial_network, open_trained
from training.data.batches import TrainingData
from training.data.datasets import open_dataset
from training.errors import CheckpointError
from training.metrics import Metrics
from training.run.folder import RunFolder, Saver
from training.settings.train_config import TrainConfig


@pytest.fixture(autouse=True)
def _pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "pooled", POOLED)


@pytest.fixture
def network() -> nn.Cell:
    return stirred("pooled", 10)


def write_safetensors(path: Path, weights: Parameters) -> Path:
    save_file(weights, path)
    return path


FILES = [
    ("w.pth", as_torch, write_state_dict, "symmetric", "torchvision and timm"),
    ("w.pt", as_torch, write_state_dict, "symmetric", "torchvision and timm"),
    ("w.safetensors", as_torch, write_safetensors, "symmetric", "torchvision and timm"),
    ("w.ckpt", as_mindcv, write, "same", "mindcv"),
]


@pytest.mark.parametrize(("name", "named", "written", "pooling", "title"), FILES)
def test_weights_are_recognised_by_name(
    name: str,
    named: Callable[[Parameters], Parameters],
    written: Callable[[Path, Parameters], Path],
    pooling: Pooling,
    title: str,
    network: nn.Cell,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = written(tmp_path / name, named(grouped(network)))
    with caplog.at_level(logging.INFO):
        trained = open_trained(path, None)
    found = "pooled, by the names and shapes of its weights, which are those of"
    assert f"{path}: {found} {title}" in caplog.text
    assert (trained.architecture, trained.num_classes, trained.labels) == ("pooled", 10, None)
    assert trained.net.pooling == pooling
    assert not trained.net.training
    for our, value in grouped(trained.net).items():
        np.testing.assert_array_equal(value, grouped(network)[our], err_msg=our)


def test_a_network_with_the_other_pooling_would_answer_otherwise(network: nn.Cell) -> None:
    images = Tensor(np.random.default_rng(1).normal(size=(1, 3, 32, 32)).astype(np.float32))
    other = stirred("pooled", 10, "symmetric")
    assert np.abs(network(images).asnumpy() - other(images).asnumpy()).max() > 0.01


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda w: w.pop("bn1.weight"), "missing: backbone.bn.gamma"),
        (lambda w: w.pop("layer2.0.downsample.1.bias"), "missing: .*layer2.0.down_sample.bn.beta"),
        (lambda w: w.update({"conv1.bias": np.ones(16, "<f4")}), "left over: backbone.conv.bias"),
        (
            lambda w: w.update({"layer1.0.se.fc1.weight": np.ones(3, "<f4")}),
            "left over: layer1.0.se.fc1.weight",
        ),
        (lambda w: w.update({"fc.scale": np.ones(3, "<f4")}), "left over: head.fc.scale"),
        (
            lambda w: w.update({"bn1.gamma": w["bn1.weight"]}),
            "bn1.gamma is a second backbone.bn.gamma; a checkpoint may hold only one",
        ),
        (lambda w: w.update({"bn1.weight": np.ones(9, "<f4")}), r"bn.gamma has shape \(9,\)"),
        (lambda w: w.update({"bn1.weight": np.ones(16, "<i8")}), "bn.gamma holds int64"),
        (lambda w: w.pop("fc.bias"), r"holds no head.fc.bias \(fc.bias in PyTorch"),
        (lambda w: w.pop("conv1.weight"), "are of no architecture that is known here"),
    ],
)
def test_what_does_not_fit_is_named(
    change: Callable[[Parameters], object], hint: str, network: nn.Cell, tmp_path: Path
) -> None:
    weights = as_torch(grouped(network))
    change(weights)
    with pytest.raises(CheckpointError, match=hint):
        load_network(write_state_dict(tmp_path / "w.pth", weights))


def test_images_are_prepared_as_torchvision_does_unless_stated(
    network: nn.Cell, tmp_path: Path
) -> None:
    path = write_state_dict(tmp_path / "w.pth", as_torch(grouped(network)))
    trained = open_trained(path, None)
    assert (trained.transform, trained.normalization) == (
        IMAGENET_PREPARATION.transform,
        IMAGENET_PREPARATION.normalization,
    )
    resize = ShorterSide(pixels=232)
    transform = IMAGENET_PREPARATION.transform.model_copy(update={"resize": resize})
    other = IMAGENET_PREPARATION.model_copy(update={"transform": transform})
    (stated := tmp_path / "stated.json").write_text(other.model_dump_json())
    assert open_trained(path, None, str(stated)).transform.resize == resize
    with pytest.raises(CheckpointError, match="--transform nowhere is neither `imagenet` nor a"):
        open_trained(path, None, "nowhere")


def start(**settings: object) -> nn.Cell:
    usual = {"architecture": "pooled", "num_classes": 10}
    return initial_network(TrainConfig.model_validate(usual | settings))


@pytest.mark.parametrize("classes", [10, 7])
def test_a_run_that_starts_from_them_keeps_their_pooling(
    classes: int, network: nn.Cell, tmp_path: Path
) -> None:
    path = write_state_dict(tmp_path / "w.pth", as_torch(grouped(network)))
    begun = start(pretrained=path, num_classes=classes)
    assert begun.pooling == "symmetric"
    name = "backbone.layer2.0.down_sample.conv.weight"
    np.testing.assert_array_equal(grouped(begun)[name], grouped(network)[name])
    assert start().pooling == "same"


def test_what_it_saves_has_their_pooling_too(network: nn.Cell, tmp_path: Path) -> None:
    """From PyTorch's weights to a run's best checkpoint, and to a run that starts from that."""
    path = write_state_dict(tmp_path / "w.pth", as_torch(grouped(network)))
    config = TrainConfig(architecture="pooled", num_classes=10, pretrained=path)
    data = TrainingData(open_dataset(FASHION_MNIST, "test"), config)
    saver = Saver(initial_network(config), config, RunFolder(tmp_path / "run"), DIGITS, data)
    saver.save_if_best(1, 10, Metrics(images=10, top1=0.5, top5=0.9))
    assert saver.best
    assert open_trained(saver.best.path, None).net.pooling == "symmetric"
    assert start(pretrained=saver.best.path).pooling == "symmetric"


def test_a_resumed_run_has_the_pooling_of_its_checkpoint(tmp_path: Path) -> None:
    for pooling in ("symmetric", "same"):
        path = tmp_path / pooling / "ckpt_0/0-1_2.ckpt"
        write_checkpoint(path, "pooled", pooling=pooling)
        assert start(resume=tmp_path / pooling).pooling == pooling


def test_files_without_it_mean_the_usual_pooling(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "ours.ckpt", "pooled")
    assert "pooling" not in path.with_suffix(".json").read_text()
    assert checkpoints.load_network(path)[0].pooling == "same"


def test_a_json_states_the_transform_by_itself(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "ours.ckpt", "pooled")
    with pytest.raises(CheckpointError, match="--transform is for checkpoints without"):
        open_trained(path, None, "imagenet")
