"""Multilabel and binary models from ONNX files, served: one field says which is which."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clients.client import ClassifierClient
from clients.types import Prediction
from tests.export.foreign import models
from tests.export.foreign.test_from_onnx import COLOURED, Wrapping
from tests.export.foreign.test_outputs import raw_answers
from tests.support.paths import ROOT
from tests.support.process import Server, serve

LABELS = {"multilabel": ["cat", "dog", "fox", "owl"], "binary": ["other", "cat"]}


def wrapped(folder: Path, kind: str, columns: int) -> Wrapping:
    folder.mkdir()
    wrapping = Wrapping(folder, models.activated("Sigmoid", columns), COLOURED)
    (folder / "labels.txt").write_text("\n".join(LABELS[kind]))
    assert wrapping.run(kind, None, "--name", kind) == 0
    return wrapping


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Wrapping]:
    root = tmp_path_factory.mktemp("tasks")
    return {
        "multilabel": wrapped(root / "several", "multilabel", 4),
        "binary": wrapped(root / "one", "binary", 1),
    }


@pytest.fixture(scope="module")
def server(made: dict[str, Wrapping]) -> Iterator[Server]:
    several, one = (made[kind].folder / kind / "7" for kind in LABELS)
    with serve(several, "--model", str(one)) as server:
        yield server


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture that needs no resizing, so that its pixels are known."""
    path = tmp_path_factory.mktemp("image") / "waves.png"
    waves = np.sin(np.arange(models.SIDE * models.SIDE * 3) / 50) * 120 + 128
    Image.fromarray(waves.reshape(models.SIDE, models.SIDE, 3).astype(np.uint8)).save(path)
    return path


def test_a_server_says_what_a_model_is(server: Server) -> None:
    with ClassifierClient(server.grpc) as client:
        tasks = {model.name: model.task for model in client.list_models()}
        assert tasks == {"binary": "multiclass", "multilabel": "multilabel"}
        assert client.get_model("multilabel").task == "multilabel"


def test_answers_are_those_of_the_file(
    server: Server, made: dict[str, Wrapping], image: Path
) -> None:
    pixels = np.asarray(Image.open(image))[None]
    raw = {kind: raw_answers(made[kind].model, pixels)[0] for kind in made}
    expected = {"multilabel": raw["multilabel"], "binary": [1 - raw["binary"][0], *raw["binary"]]}
    with ClassifierClient(server.grpc) as client:
        for kind, wanted in expected.items():
            [answer] = client.classify([image], top_k=0, model=kind, full_probabilities=True)
            assert isinstance(answer, Prediction)
            np.testing.assert_allclose(answer.probabilities, wanted, atol=1e-5)
            found = {score.label: score.probability for score in answer.classes}
            assert [found[label] for label in LABELS[kind]] == [*answer.probabilities]


def test_the_command_line_shows_each_class_by_itself(server: Server, image: Path) -> None:
    command = [sys.executable, "-m", "clients", "classify", str(image), "--address", server.grpc]
    heads = {}
    for kind in LABELS:
        done = subprocess.run(
            [*command, "--model", kind], cwd=ROOT, text=True, capture_output=True, check=True
        )
        heads[kind] = done.stdout.splitlines()[0].split()
    assert heads["multilabel"] == ["Image", "Classes", "Others"]
    assert heads["binary"] == ["Image", "Class", "Probability", "Next"]
