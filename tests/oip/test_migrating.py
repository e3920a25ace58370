"""Every step of docs/migrating.md runs as it stands, in a folder that has what its readers have."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import yaml
from onnx import TensorProto

from tests.export.foreign.models import CLASSES, model, network
from tests.support.foreign import foreign
from tests.support.paths import ROOT, SAMPLES
from tests.support.process import Server, ready

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs/migrating.md").read_text()
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}
LABELS = ["finch", "heron", "owl", "wren"]
SERVE = re.compile(r"\.venv/bin/python -m serving (.*)\n")


def blocks(section: str) -> list[tuple[str, str]]:
    """Return the language and the code of each block."""
    return re.findall(r"```(\w+)\n(.*?)```", SECTIONS[section], re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a network, as each of the other servers holds it."""
    assert len(LABELS) == CLASSES
    shape: list[int | str] = ["batch", 3, 224, 224]
    given = ("logits", TensorProto.FLOAT, ["batch", CLASSES])
    built = model(network("images", "batch"), (TensorProto.FLOAT, shape), given)
    repository = tmp_path / "model_repository/birds"
    (repository / "1").mkdir(parents=True)
    onnx.save(built, tmp_path / "birds.onnx")
    onnx.save(built, repository / "1/model.onnx")
    text = "".join(f"{label}\n" for label in LABELS)
    (tmp_path / "labels.txt").write_text(text)
    (repository / "labels.txt").write_text(text)
    (tmp_path / "model_store").mkdir()
    with zipfile.ZipFile(tmp_path / "model_store/birds.mar", "w") as archive:
        names = {str(i): [f"n0{i}", label] for i, label in enumerate(LABELS)}
        archive.writestr("index_to_name.json", json.dumps(names))
    shutil.copy(next(SAMPLES.glob("*.png")), tmp_path / "finch.png")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


class Reader:
    """Somebody who follows a section of the page."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self._process: subprocess.Popen[str] | None = None
        self._server: Server | None = None

    def follow(self, language: str, code: str) -> str:
        """Do what a block says, and return what it prints."""
        if language == "sh" and (flags := SERVE.fullmatch(code)):
            return self.serve(*flags[1].split())
        if language == "sh":
            return self._run(self._addressed(code))
        done = foreign("-c", self._addressed(code), cwd=self._folder)
        assert done.returncode == 0, f"{code}\n{done.stderr}"
        return done.stdout

    def serve(self, *flags: str) -> str:
        """Start the server on free ports."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "serving", *flags, "--grpc-port", "0", "--http-port", "0"],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._server = ready(self._process)
        return ""

    def stop(self) -> None:
        """Stop the server."""
        if self._process:
            self._process.send_signal(signal.SIGTERM)
            self._process.communicate(timeout=60)

    def _addressed(self, code: str) -> str:
        if not self._server:
            return code
        code = code.replace("localhost:50051", self._server.grpc)
        return code.replace("localhost:8080", self._server.http.removeprefix("http://"))

    def _run(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", command],
            cwd=self._folder,
            env=self._environment,
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def reader(folder: Path) -> Iterator[Reader]:
    reader = Reader(folder)
    yield reader
    reader.stop()


def test_from_torchserve(reader: Reader, folder: Path) -> None:
    (folder / "labels.txt").unlink()
    printed = [reader.follow(*block) for block in blocks("From TorchServe") if block[0] != "text"]
    assert (folder / "labels.txt").read_text().split() == LABELS
    answer = printed[-1]
    assert all(label in answer for label in LABELS)


def test_from_triton(reader: Reader) -> None:
    printed = [reader.follow(*block) for block in blocks("From Triton") if block[0] != "text"]
    assert "finch" in printed[2]
    assert printed[2].splitlines()[0] == printed[3].splitlines()[0]
    assert printed[4] == "(8, 4)\n"


def test_from_kserve(reader: Reader, folder: Path) -> None:
    printed = []
    for language, code in blocks("From KServe"):
        if language == "yaml":
            reader.serve(*arguments(code, folder))
        elif language != "text":
            printed.append(reader.follow(language, code))
    over_rest, over_grpc = printed[1].splitlines()
    assert over_rest == over_grpc
    assert json.loads(printed[2])["outputs"][0]["shape"] == [1, CLASSES]


# Fails if KServe's types know a field by no such name.
READ = """
import json, sys
from kserve import V1beta1InferenceService, V1beta1InferenceServiceSpec, V1beta1PredictorSpec
from kubernetes.client import ApiClient

document = json.loads(sys.argv[1])
predictor = document["spec"].pop("predictor")
[container] = predictor.pop("containers")
read = ApiClient().deserialize(json.dumps(container), "V1Container", "application/json")
assert ApiClient().sanitize_for_serialization(read) == container, read
names = {"apiVersion": "api_version"}
spec = V1beta1InferenceServiceSpec(predictor=V1beta1PredictorSpec(containers=[read], **predictor))
V1beta1InferenceService(**{names.get(k, k): v for k, v in document.items()} | {"spec": spec})
"""


def arguments(code: str, folder: Path) -> list[str]:
    """Return the arguments of the server in a KServe document, for this machine only."""
    document = yaml.safe_load(code)
    done = foreign("-c", READ, json.dumps(document))
    assert done.returncode == 0, done.stderr
    [container] = document["spec"]["predictor"]["containers"]
    stored = container["env"][0]["value"].removeprefix("pvc://models/")
    here = {"--model=/mnt/models": f"--model={folder}/bundles/{stored}", "--host=0.0.0.0": ""}
    return [argument for word in container["args"] if (argument := here.get(word, word))]
