"""The client in environments of its own, against the real server: what applications may have."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT, SHIPPED
from tests.support.process import Server, serve

# By name, how the versions begin that requirements/NAME.txt pins.
ENVIRONMENTS = {
    "clients-oldest": {"grpcio": "1.62.", "protobuf": "6.30."},
    "clients-newest": {"grpcio": "1.", "protobuf": "7."},
    "oip": {"grpcio": "1.", "protobuf": "6.", "tritonclient": "2.", "kserve": "0."},
}
IMAGES = sorted((ROOT / "examples/images").glob("*.png"))[:2]
BOTH = """
import asyncio, importlib.metadata, json, pathlib, sys
from clients import AsyncClassifierClient, ClassifierClient

address, *paths = sys.argv[1:]
images = [pathlib.Path(path) for path in paths]

async def ask():
    async with AsyncClassifierClient(address) as client:
        return await client.classify(images), await client.get_model(), await client.list_models()

with ClassifierClient(address) as client:
    blocking = client.classify(images), client.get_model(), client.list_models()
waiting = asyncio.run(ask())
assert blocking[1:] == waiting[1:], (blocking, waiting)
print(json.dumps({
    "versions": {d.name: d.version for d in importlib.metadata.distributions()},
    "labels": [[result.classes[0].label for result in found[0]] for found in (blocking, waiting)],
}))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve(SHIPPED) as server:
        yield server


@pytest.fixture(params=ENVIRONMENTS)
def environment(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(environment: str, cwd: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run the environment's Python, which has the package installed, outside of the checkout."""
    python = ROOT / f".venv-{environment}/bin/python"
    assert python.exists(), f"make test makes .venv-{environment}"
    command = [str(python), "-W", "error", *words]
    return subprocess.run(
        command, cwd=cwd, env={"PATH": ""}, text=True, capture_output=True, timeout=60, check=False
    )


def test_both_clients_classify(server: Server, environment: str, tmp_path: Path) -> None:
    beside = "import tritonclient.grpc" if environment == "oip" else ""
    done = run(environment, tmp_path, "-c", beside + BOTH, server.grpc, *map(str, IMAGES))
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    pins = (ROOT / f"requirements/{environment}.txt").read_text().split()
    for name, beginning in ENVIRONMENTS[environment].items():
        assert said["versions"][name].startswith(beginning)
        assert f"{name}=={said['versions'][name]}" in pins
    labels = [path.stem.rpartition("_")[0] for path in IMAGES]
    for found in said["labels"]:
        assert [label.lower().replace(" ", "_").replace("/", "_") for label in found] == labels


def test_the_command_line_classifies(server: Server, environment: str, tmp_path: Path) -> None:
    flags = ["--address", server.grpc, "--json"]
    done = run(environment, tmp_path, "-m", "clients", "classify", *map(str, IMAGES), *flags)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["path"] for line in lines] == [str(path) for path in IMAGES]
    assert all(line["classes"] for line in lines)


# KServe's package has half of a server's, Pillow among it.
@pytest.mark.parametrize("environment", [name for name in ENVIRONMENTS if name != "oip"])
def test_only_what_the_client_needs_is_installed(environment: str, tmp_path: Path) -> None:
    python = ROOT / f".venv-{environment}/bin/python"  # it has no pip of its own
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    done = subprocess.run([*map(str, pip), "check"], text=True, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, "No broken requirements found.\n")
    code = "from importlib.metadata import distributions as d; print(*(x.name for x in d()))"
    installed = set(run(environment, tmp_path, "-c", code).stdout.split())
    assert "resnext-serving" in {name.replace("_", "-") for name in installed}
    assert not installed & {"opencv-python-headless", "simplejpeg", "pillow", "grpcio-status"}


def test_the_load_tester_says_what_it_needs(environment: str, tmp_path: Path) -> None:
    done = run(environment, tmp_path, "-m", "clients", "bench", "--concurrency", "1")
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("error: the load tester is not installed with the client: run ")
    assert "pip install -e '.[load]'" in line


def test_the_load_tester_knows_its_grpcio(server: Server) -> None:
    done = run("clients-oldest", ROOT, "-m", "clients", "bench", "--address", server.grpc)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("error: the load tester needs grpcio 1.85, and this is 1.62.0: ")
