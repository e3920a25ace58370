"""The MINDIR file: the checkpoint's answers in MindSpore, the same bytes from every process."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mindspore.train import mind_ir_pb2

from export.errors import ExportError
from export.formats.mindir import runner, write
from export.graph import Deployment, predictor
from images.transform import Pixels
from tests.support.paths import ROOT

WRITE_ANOTHER = """
import sys, pathlib
from images.transform import Size
from export.graph import Deployment
from export.formats.mindir import write
from tests.support.checkpoints import NORMALIZATION, stirred
deployment = Deployment(stirred("tiny", 10), NORMALIZATION, Size(height=28, width=28))
write(deployment, pathlib.Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def path(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("mindir") / "model.mindir"
    write(deployment, file)
    return file


@pytest.mark.parametrize("batch", [2, 5])
def test_answers_as_the_checkpoint_does(
    deployment: Deployment, path: Path, pixels: Pixels, batch: int
) -> None:
    expected = predictor(deployment.graph(), 5)(pixels)
    np.testing.assert_allclose(runner(path, batch)(pixels), expected, atol=1e-6)


def test_a_mirrored_network_answers_the_same_for_mirror_images(
    mirrored: Deployment, pixels: Pixels, tmp_path: Path
) -> None:
    file = tmp_path / "model.mindir"
    write(mirrored, file)
    expected = predictor(mirrored.graph(), 5)(pixels)
    for images in (pixels, np.ascontiguousarray(pixels[:, :, ::-1])):
        np.testing.assert_allclose(runner(file, 5)(images), expected, atol=1e-6)


def test_takes_uint8_images_in_any_number(path: Path) -> None:
    graph = mind_ir_pb2.ModelProto.FromString(path.read_bytes()).graph
    [taken], [given] = graph.input, graph.output
    assert (taken.name, list(taken.tensor[0].dims)) == ("images", [-1, 28, 28, 3])
    assert taken.tensor[0].data_type == mind_ir_pb2.TensorProto.UINT8
    assert (given.name, list(given.tensor[0].dims)) == ("probabilities", [-1, 10])
    assert given.tensor[0].data_type == mind_ir_pb2.TensorProto.FLOAT


def test_leaves_nothing_else_behind(path: Path) -> None:
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.mindir"
    subprocess.run([sys.executable, "-c", WRITE_ANOTHER, str(again)], cwd=ROOT, check=True)
    assert again.read_bytes() == path.read_bytes()


def test_a_network_that_mindspore_splits_is_refused(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mindspore.train.serialization.TOTAL_SAVE", 1)
    with pytest.raises(ExportError, match=r"above 1 GB MindSpore splits .*; write ONNX"):
        write(deployment, tmp_path / "large.mindir")
    assert not list(tmp_path.iterdir())
