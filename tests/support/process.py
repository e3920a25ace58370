"""Programs of ours as processes: `python -m ...`, and servers that are ready."""

import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT

BANNER = re.compile(
    r"gRPC  (?P<grpc>\S+)\nHTTP  (?P<http>https?://\S+)/metrics\n"
    r"Try   (?P<command>.+)\nor    (?P<curl>.+)\n"
)


@dataclass(frozen=True)
class Server:
    """A server process that has printed its banner; `http` ends without a slash."""

    process: subprocess.Popen[str]
    grpc: str
    http: str
    command: str
    curl: str


def run(*arguments: str | Path) -> str:
    """Run one of our modules to its end and return what it printed; it must succeed."""
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def start(
    model: Path,
    *flags: str,
    program: Sequence[str] = ("-m", "serving"),
    executable: str = sys.executable,
    stderr: int | None = subprocess.PIPE,
) -> subprocess.Popen[str]:
    """Start a server of a bundle on free ports; `program` is what Python runs."""
    return _start([executable, *program, "--model", str(model)], flags, stderr)


def start_repository(
    root: Path, *flags: str, stderr: int | None = subprocess.PIPE
) -> subprocess.Popen[str]:
    """Start a server of a repository on free ports."""
    return _start([sys.executable, "-m", "serving", "--repository", str(root)], flags, stderr)


def _start(
    command: Sequence[str], flags: Sequence[str], stderr: int | None
) -> subprocess.Popen[str]:
    ports = ["--grpc-port", "0", "--http-port", "0"]  # the last of a flag counts
    return subprocess.Popen(
        [*command, *ports, *flags], cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True
    )


def ready(process: subprocess.Popen[str]) -> Server:
    """Wait until a server has printed its banner, and read it."""
    assert process.stdout
    printed = ""
    for line in process.stdout:
        printed += line
        if banner := BANNER.search(printed):
            return Server(process, **banner.groupdict())
    raise AssertionError(f"the server ended with {process.wait()} before it was ready: {printed}")


@contextmanager
def serve(model: Path, *flags: str) -> Iterator[Server]:
    """Run a server of a bundle on free ports; it must end cleanly on SIGTERM."""
    with _serving(start(model, *flags, stderr=None)) as server:
        yield server


@contextmanager
def serve_repository(root: Path, *flags: str) -> Iterator[Server]:
    """Run a server of a repository on free ports; it must end cleanly on SIGTERM."""
    with _serving(start_repository(root, *flags, stderr=None)) as server:
        yield server


@contextmanager
def _serving(process: subprocess.Popen[str]) -> Iterator[Server]:
    try:
        yield ready(process)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


def metric(server: Server, name: str) -> float:
    """Return the sum of a metric's series; `name` may carry labels."""
    text = urllib.request.urlopen(f"{server.http}/metrics").read().decode()
    values = re.findall(rf"^{name}\S* (\S+)$", text, re.MULTILINE)
    assert values, f"no {name} in {text}"
    return sum(map(float, values))
