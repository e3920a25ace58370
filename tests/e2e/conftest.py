"""Real server processes for the end-to-end tests."""

import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "models/fashion_resnext/1"
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class Server:
    """A server process that has said it is ready."""

    process: subprocess.Popen[str]
    grpc: str
    http: str
    banner: str


def run(*arguments: str | Path) -> str:
    """Run one of our modules to its end and return what it printed."""
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def metric(server: Server, name: str) -> float:
    """Return the sum of a metric's series; `name` may carry labels."""
    text = urllib.request.urlopen(f"{server.http}/metrics").read().decode()
    values = re.findall(rf"^{name}\S* (\S+)$", text, re.MULTILINE)
    assert values, f"no {name} in {text}"
    return sum(map(float, values))


@contextmanager
def serve(model: Path, *flags: str) -> Iterator[Server]:
    """Run `python -m serving` on free ports; it must end cleanly on SIGTERM."""
    command = [sys.executable, "-m", "serving", "--model", str(model), "--grpc-port", "0"]
    process = subprocess.Popen(
        [*command, "--http-port", "0", *flags], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        yield _ready(process)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


def _ready(process: subprocess.Popen[str]) -> Server:
    assert process.stdout
    banner = ""
    for line in process.stdout:
        banner += line
        if "clients classify" in line:
            grpc = re.search(r"localhost:\d+", banner)
            http = re.search(r"http://localhost:\d+", banner)
            assert grpc
            assert http
            return Server(process, grpc[0], http[0], banner)
    raise AssertionError(f"the server ended with {process.wait()} before it was ready: {banner}")


@pytest.fixture(scope="module")
def shipped_server() -> Iterator[Server]:
    """A server of the bundle that ships with the repository."""
    with serve(SHIPPED) as server:
        yield server
