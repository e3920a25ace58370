"""Every command of docs/scaling.md runs, on free ports and with short runs."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.process import Server, metric, ready

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs/scaling.md").read_text()
SERVE, MEASURE = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
[CALL] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def server() -> Iterator[Server]:
    """The server that the page starts."""
    python, *words = shlex.split(SERVE)
    assert (python, words[:2]) == (".venv/bin/python", ["-m", "serving"])
    ports = ["--grpc-port", "0", "--http-port", "0"]
    process = subprocess.Popen(
        [sys.executable, *words, *ports], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        yield ready(process)
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


def test_the_page_serves_with_front_ends_and_calls_over_several_connections(
    server: Server,
) -> None:
    program = CALL.replace("localhost:50051", server.grpc)
    assert program != CALL
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "label='Bag'" in done.stdout
    assert metric(server, "serving_frontends") == 2


def test_the_page_measures_this_machine_and_simulates_another(tmp_path: Path) -> None:
    block = MEASURE.replace("build/scaling", str(tmp_path)).replace(
        ".venv/bin/python", sys.executable
    )
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "BENCH_FRONTENDS_DURATION_S": "0.3",
        "BENCH_SCALING_DURATION_S": "0.2",
    }
    done = subprocess.run(
        ["bash", "-euc", block], cwd=ROOT, env=environment, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Measured and simulated" in done.stdout
    written = {path.name for path in tmp_path.iterdir()}
    assert written >= {"frontends.json", "scaling.json", "scaling.md", "scaling.svg"}
