"""`make demo`, whole: a cat is a cat, in every precision."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients import ClassifierClient, Prediction
from tests.support.paths import ROOT
from tests.support.process import Server, ready, serve

BUNDLE = ROOT / "build/demo/efficientnet_lite0/1"
PHOTOS = ROOT / "build/demo/photos"
CATS = {"tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module", autouse=True)
def _environment() -> None:
    if not (ROOT / ".venv-demo/.demo").exists():
        pytest.skip("there is no environment of the demo: make .venv-demo/.demo")


@pytest.fixture(scope="module")
def demo() -> Iterator[Server]:
    """The server that `make demo` starts, of a bundle that it has made anew."""
    # What `make test` itself was told is not meant for what it runs.
    inherited = {k: v for k, v in os.environ.items() if k not in ("ARGS", "MAKEFLAGS")}
    process = subprocess.Popen(
        ["make", "--what-if", "demo/__main__.py", "demo", "GRPC_PORT=0", "HTTP_PORT=0"],
        cwd=ROOT, env=inherited, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield ready(process)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate()


def names(address: str, *photos: str) -> list[str]:
    """Return what the server calls these photos."""
    with ClassifierClient(address) as client:
        results = client.classify([PHOTOS / photo for photo in photos])
    assert all(isinstance(result, Prediction) for result in results)
    return [result.classes[0].label for result in results]


def test_the_cat_is_a_cat(demo: Server) -> None:
    cat, *others = names(demo.grpc, "chelsea.png", "coffee.png", "flower.jpg", "china.jpg")
    assert cat in CATS
    assert others == ["espresso", "daisy", "palace"]


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_the_cat_is_a_cat_in_fewer_bits(precision: str, demo: Server) -> None:
    made = {
        file["precision"] for file in json.loads((BUNDLE / "manifest.json").read_text())["files"]
    }
    assert {"fp32", "int8"} <= made
    if precision not in made:
        return  # this CPU cannot compute in bf16
    with serve(BUNDLE, "--precision", precision, "--buckets", "1") as server:
        assert names(server.grpc, "chelsea.png")[0] in CATS


def test_what_accuracy_means_here_is_said(demo: Server) -> None:
    accuracy = json.loads((BUNDLE / "manifest.json").read_text())["accuracy"]
    assert accuracy["dataset"] == "pieces_named_by_the_model/test"
    assert accuracy["top1_correct"] == accuracy["images"]


def test_every_class_has_a_name_of_its_own(demo: Server) -> None:
    labels = Path(ROOT / "build/demo/labels.txt").read_text().splitlines()
    assert len(labels) == len(set(labels)) == 1000
    assert "golden retriever" in labels


@pytest.mark.parametrize("flag", ["--grpc-port", "--http-port"])
def test_a_port_that_is_taken_is_said_before_anything_is_built(flag: str) -> None:
    ports = {"--grpc-port": "0", "--http-port": "0"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports[flag] = str(taken.getsockname()[1])
        words = [word for pair in ports.items() for word in pair]
        ended = subprocess.run(
            [ROOT / ".venv-demo/bin/python", "-m", "demo", *words],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"cannot listen on 127.0.0.1:{ports[flag]}" in ended.stderr
    assert ended.stderr.count("\n") == 1
