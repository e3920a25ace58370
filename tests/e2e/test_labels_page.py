"""Every command of docs/labels.md runs as it stands, in a folder that has what its readers have."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle.manifest import MANIFEST
from tests.support.bundles import reseal
from tests.support.paths import ROOT, SHIPPED
from tests.support.process import Server, metric, ready, start_repository

pytestmark = pytest.mark.slow

BLOCKS: list[str] = re.findall(r"```sh\n(.*?)```", (ROOT / "docs/labels.md").read_text(), re.DOTALL)
SERVE = re.compile(r"\.venv/bin/python -m serving --repository my-models (.*)\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a repository of two versions: the shipped bundle twice."""
    for version in ("1", "2"):
        path = tmp_path / "my-models/fashion_resnext" / version
        shutil.copytree(SHIPPED, path)
        manifest = json.loads((path / MANIFEST).read_text())
        (path / MANIFEST).write_text(json.dumps(manifest | {"version": version}))
        reseal(path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


class Reader:
    """Somebody who follows the page."""

    def __init__(self, folder: Path, started: list[subprocess.Popen[str]]) -> None:
        self._folder, self._started = folder, started
        self.server: Server | None = None

    def follow(self, block: str) -> str:
        """Do what a block says, and return what it prints."""
        if found := SERVE.fullmatch(block):
            repository = self._folder / "my-models"
            self._started.append(start_repository(repository, *found[1].split(), stderr=None))
            self.server = ready(self._started[0])
            return ""
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        if self.server:
            block = block.replace("http://localhost:8080", self.server.http)
            environment |= {
                f"CLIENTS_{one}_ADDRESS": self.server.grpc for one in ("MODELS_LABEL", "CLASSIFY")
            }
        done = subprocess.run(
            ["bash", "-ec", block],
            cwd=self._folder,
            env=environment,
            text=True,
            capture_output=True,
        )
        assert done.returncode == 0, f"{block}\n{done.stderr}"
        return " ".join(done.stdout.split())


def test_the_page(folder: Path, processes: list[subprocess.Popen[str]]) -> None:
    reader = Reader(folder, processes)
    file, serve, ask, share, promote, roll_back, over_http, shadow = BLOCKS
    reader.follow(file)
    reader.follow(serve)
    assert '"version":"1"' in reader.follow(ask)
    assert "stable 1 50% canary 2 50%" in reader.follow(share)
    assert reader.follow(promote).endswith("stable 2 100% previous 1 0%")
    assert reader.follow(roll_back).endswith("stable 1 100% previous 1 0%")
    assert '{"label":"canary","version":"2","share":0.1}' in reader.follow(over_http)
    assert "shadow 2 0%" in reader.follow(shadow)
    rollout = folder / "my-models/fashion_resnext/rollout.yaml"
    assert rollout.read_text() == "stable: 1\nprevious: 1\nshadow: 2\n"
    assert reader.server
    ask = ask.replace("canary", "stable")  # until the shadow's instance is open
    name = 'serving_shadow_images_total{model="fashion_resnext",outcome="agrees"'
    while not metric(reader.server, re.escape(name)):
        reader.follow(ask)
    assert metric(reader.server, "serving_shadow_difference_sum") == 0
    reader.server.process.send_signal(signal.SIGTERM)
    assert reader.server.process.wait(60) == 0
