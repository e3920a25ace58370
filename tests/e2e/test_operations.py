"""docs/operations.md, followed from its first command to its last while clients send images."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clients.client import ClassifierClient
from clients.types import Prediction
from tests.support.paths import ROOT, SAMPLES
from tests.support.process import Server, ready

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs/operations.md").read_text()
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}
NAME = "fashion_resnext"
IMAGES = sorted(SAMPLES.glob("*.png"))


def commands(section: str) -> list[str]:
    """Return what a reader types, block by block."""
    return re.findall(r"```sh\n(.*?)```", SECTIONS[section], re.DOTALL)


class Operator:
    """Types what the page shows, with a folder of their own for `my-models`."""

    def __init__(self, folder: Path) -> None:
        self._models = str(folder / "my-models")
        self.server: Server | None = None

    def type(self, block: str) -> str:
        """Do what a block says, and return what it prints."""
        block = block.replace("my-models", self._models)
        if self.server:
            block = block.replace("localhost:8080", self.server.http.removeprefix("http://"))
            block = re.sub(r"(-m clients models .*)", rf"\1 --address {self.server.grpc}", block)
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            ["bash", "-euc", block], cwd=ROOT, env=environment, text=True, capture_output=True
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def serving(self, block: str) -> Iterator[Server]:
        """Start the server that a block starts, on free ports; it must end cleanly."""
        words = block.replace("my-models", self._models).split()
        assert words[:3] == [".venv/bin/python", "-m", "serving"]
        ports = ["--grpc-port", "0", "--http-port", "0"]
        process = subprocess.Popen(
            [sys.executable, *words[1:], *ports], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        try:
            self.server = ready(process)
            yield self.server
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            self.server = None
            process.kill()
            process.communicate()


class Clients:
    """Two callers that send images until they are told to stop, and count who answered."""

    def __init__(self, address: str) -> None:
        self._address, self._stop = address, threading.Event()
        self.answers: Counter[str] = Counter()
        self.failures: list[object] = []
        self._threads = [threading.Thread(target=self._send) for _ in range(2)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        with ClassifierClient(self._address) as client:
            while not self._stop.is_set():
                try:
                    results = client.classify(IMAGES, timeout_s=60)
                except Exception as error:  # noqa: BLE001 - every failure counts
                    self.failures.append(error)
                    return
                for result in results:
                    if isinstance(result, Prediction):
                        self.answers[result.version] += 1
                    else:
                        self.failures.append(result)

    def until_answered_by(self, version: str) -> None:
        """Wait until a version answers; for at most ten minutes."""
        before, until = self.answers[version], time.monotonic() + 600
        while self.answers[version] == before and not self.failures:
            assert time.monotonic() < until, f"{version} does not answer: {self.answers}"
            self._stop.wait(0.05)


@pytest.mark.timeout(1800)
def test_a_new_user_follows_the_page(tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    prepare, serve, show = commands("A repository of models")
    export, show_again = commands("A new version")
    operator.type(prepare)
    with operator.serving(serve) as server, Clients(server.grpc) as clients:
        assert re.search(rf"{NAME} +1 +READY", operator.type(show))
        clients.until_answered_by("1")
        operator.type(export)
        clients.until_answered_by("2")
        printed = operator.type(show_again)
        assert re.search(rf"{NAME} +2 +READY", printed)
        assert re.search(rf"{NAME} +1 +(UNLOADING|UNAVAILABLE) +the version policy is", printed)
        [back] = commands("Rolling back")
        operator.type(back)
        clients.until_answered_by("1")
    assert clients.failures == []
    explicit, calls = commands("By calls")
    with operator.serving(explicit):
        printed = operator.type(calls)
    assert printed.endswith("{}")
    tables = [re.findall(r"(\d+) +([A-Z]+)", table) for table in printed.split("Model ")[1:]]
    assert [dict(table) for table in tables] == [
        {"1": "UNAVAILABLE"},
        {"1": "UNAVAILABLE", "2": "READY"},
        {"1": "READY", "2": "READY"},
        {"1": "READY", "2": "UNAVAILABLE"},
    ]
    [doctor] = commands("Before a server goes live")
    assert "a server with these settings would work" in operator.type(doctor)
