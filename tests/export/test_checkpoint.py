"""Checkpoints as originals: ours with their .json, the upstream's without."""

from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor, ops, save_checkpoint

from export.checkpoint import from_checkpoint
from export.config import ExportConfig
from export.errors import ExportError
from images.transform import Pixels
from tests.export.images import varied
from tests.support.checkpoints import write_checkpoint
from tests.support.upstream import group_by_group, split, with_optimiser
from training.checkpoint.checkpoints import load_network
from training.errors import CheckpointError


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("ours") / "best.ckpt")


@pytest.fixture(scope="module")
def upstream(ours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights as a training run of the upstream leaves them on a CPU."""
    path = tmp_path_factory.mktemp("upstream") / "resnext.ckpt"
    saved = with_optimiser(split(load_network(ours)[0]))
    save_checkpoint([{"name": n, "data": Tensor(v)} for n, v in saved.items()], str(path))
    return path


def config(path: Path, **flags: object) -> ExportConfig:
    return ExportConfig.model_validate({"ckpt_file": path, **flags})


def test_a_split_layout_answers_as_it_did_upstream(ours: Path, upstream: Path) -> None:
    images: Pixels = varied(3, 32)
    original = from_checkpoint(config(upstream, architecture="tiny", height=32, width=32))
    network = group_by_group(load_network(ours)[0])
    normal = (images - np.array(original.normalization.mean)) / np.array(original.normalization.std)
    logits = network(Tensor(normal.transpose(0, 3, 1, 2).astype(np.float32)))
    expected = ops.softmax(logits, axis=1).asnumpy()
    assert np.ptp(expected, axis=0).max() > 0.05
    np.testing.assert_allclose(original.predict(images), expected, atol=1e-6)


def test_an_upstream_checkpoint_comes_with_the_upstreams_transform(upstream: Path) -> None:
    original = from_checkpoint(config(upstream, architecture="tiny"))
    assert original.transform.model_dump() == {
        "resize": {"kind": "stretch", "height": 256, "width": 256},
        "crop": {"height": 224, "width": 224},
        "kernel": "bilinear",
        "antialias": False,
    }
    assert original.normalization.mean == pytest.approx([0.485 * 255, 0.456 * 255, 0.406 * 255])
    assert original.normalization.std == pytest.approx([0.229 * 255, 0.224 * 255, 0.225 * 255])
    assert original.labels == [str(index) for index in range(10)]


def test_labels_come_from_a_file(upstream: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join("abcdefghij"))
    original = from_checkpoint(config(upstream, architecture="tiny", labels=labels))
    assert original.labels == list("abcdefghij")
    labels.write_text("a\nb\n")
    with pytest.raises(ExportError, match="has 10 classes, --labels names 2"):
        from_checkpoint(config(upstream, architecture="tiny", labels=labels))


def test_a_checkpoint_without_json_is_recognised(upstream: Path) -> None:
    assert from_checkpoint(config(upstream)).architecture == "tiny"


def test_a_crop_beyond_the_resize_is_refused(upstream: Path) -> None:
    with pytest.raises(ExportError, match=r"--height, --width: .*does not fit"):
        from_checkpoint(config(upstream, architecture="tiny", height=300, width=300))


@pytest.mark.parametrize(
    ("flag", "value", "stated"),
    [("height", 32, "28"), ("width", 32, "28")],
)
def test_what_the_json_states_cannot_be_asked_to_differ(
    ours: Path, flag: str, value: object, stated: str
) -> None:
    hint = f"--{flag} asks for {value}, but the checkpoint was evaluated with {stated}"
    with pytest.raises(ExportError, match=hint):
        from_checkpoint(config(ours, **{flag: value}))
    from_checkpoint(config(ours, architecture="tiny", height=28, width=28))


def test_ours_cannot_be_said_to_be_another(ours: Path) -> None:
    with pytest.raises(CheckpointError, match=r"says resnext152_64x4d, but .* is tiny; leave it"):
        from_checkpoint(config(ours, architecture="resnext152_64x4d"))
