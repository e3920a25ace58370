"""Every line of docs/bring_your_own.md runs, and what is served answers as PyTorch did."""

import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bundle.preparation import Preparation
from clients import ClassifierClient, Prediction
from export.__main__ import main as export
from images.transform import ShorterSide, Size, Transform
from tests.support.bundles import photo
from tests.support.paths import ROOT
from tests.support.process import ready, serve
from tests.support.torch import torch_python

PAGE = ROOT / "docs/bring_your_own.md"
# As tests/docs/brought_models.py has them.
TRANSFORM = Transform(
    resize=ShorterSide(pixels=54), crop=Size(height=48, width=48), kernel="bicubic"
)
VARIANTS = 9

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def photos() -> list[bytes]:
    files = []
    for seed in range(4):
        photo(seed, 90, 70).resize((360, 280)).save(file := io.BytesIO(), "PNG")
        files.append(file.getvalue())
    return files


@pytest.fixture(scope="module")
def brought(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A folder for every way through the page's Python."""
    folder = tmp_path_factory.mktemp("brought")
    np.save(folder / "pixels.npy", np.stack([TRANSFORM.decode(file) for file in photos()]))
    program = str(ROOT / "tests/docs/brought_models.py")
    words = [torch_python(), "-W", "ignore", program, str(folder)]
    done = subprocess.run(words, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    assert len(folders) == VARIANTS
    return folders


def command(block: int) -> list[str]:
    """Return the words of one of the page's commands of this project, which runs in any folder."""
    found = re.findall(r"```sh\n\.venv-demo/bin/python (.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(found) == 2
    words = shlex.split(found[block].replace("\\\n", ""))
    return [sys.executable, *words]


def test_the_page_states_the_transform(brought: list[Path]) -> None:
    for folder in brought:
        stated = Preparation.model_validate_json((folder / "transform.json").read_bytes())
        assert stated.transform == TRANSFORM
        assert stated.normalization.mean == pytest.approx((123.675, 116.28, 103.53))


def test_what_is_served_answers_as_pytorch_did(
    brought: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles = []
    for folder in brought:
        monkeypatch.chdir(folder)
        [*program, _, kind, output, place, flag, name] = command(0)
        assert (program[-1], kind, output, flag, name) == (
            *("transform.json", "logits", "--output", "--name", "mine"),
        )
        stated = (folder / "kind.txt").read_text()
        words = [*program[3:], "--output-kind", stated, "--output", place, "--name", folder.name]
        assert export(words) == 0
        bundles.append(folder / place / folder.name / "1")
    others = [word for path in bundles[1:] for word in ("--model", str(path))]
    with serve(bundles[0], *others) as server, ClassifierClient(server.grpc) as client:
        for folder in brought:
            assert_answers(client, folder, folder.name)


def test_the_commands_of_the_page_run_as_they_stand(brought: list[Path]) -> None:
    [folder] = [path for path in brought if path.name == "timm_dynamo"]
    at_home = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command(0), cwd=folder, env=at_home, check=True, capture_output=True)
    words = [*command(1), "--grpc-port", "0", "--http-port", "0"]
    process = subprocess.Popen(words, cwd=folder, env=at_home, stdout=subprocess.PIPE, text=True)
    try:
        with ClassifierClient(ready(process).grpc) as client:
            assert_answers(client, folder, "mine")
    finally:
        process.terminate()
        process.communicate()


def assert_answers(client: ClassifierClient, folder: Path, model: str) -> None:
    results = client.classify(photos(), top_k=0, model=model)
    expected = np.load(folder / "answers.npy")
    assert np.ptp(expected, axis=0).max() > 0.02, "equal answers would prove nothing"
    for result, wanted in zip(results, expected, strict=True):
        assert isinstance(result, Prediction)
        given = {answer.label: answer.probability for answer in result.classes}
        assert list(given.values()) == pytest.approx(sorted(wanted, reverse=True), abs=1e-5)
        assert given == pytest.approx({f"thing {i}": p for i, p in enumerate(wanted)}, abs=1e-5)
