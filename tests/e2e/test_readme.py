"""Every command of the README runs, in the order of the page: training, export and serving."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.process import ready

RUN_BY_OTHERS = {"make demo"}  # tests/demo


def blocks(readme: str, language: str) -> list[str]:
    """Return the page's code blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / readme).read_text(), re.DOTALL)


def commands(readme: str) -> list[str]:
    """Return the lines of the page's `sh` blocks, comments stripped."""
    lines = (line for block in blocks(readme, "sh") for line in block.splitlines())
    stripped = (line.split("  #")[0].strip() for line in lines)
    return [line for line in stripped if line]


def test_ci_runs_what_the_readme_tells_contributors_to_run() -> None:
    script = (ROOT / ".ci/run").read_text().splitlines()
    assert {"make lint", "make test"} <= {line.removesuffix(" ||") for line in script}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_command_runs(tmp_path: Path) -> None:
    shown = commands("README.md")
    assert {"make demo", "make serve", "make train", "make export"} <= set(shown)
    grpc, http = _free_port(), _free_port()
    # What `make test` itself was told, ARGS for instance, is not meant for what it runs.
    inherited = {k: v for k, v in os.environ.items() if k not in ("ARGS", "MAKEFLAGS")}
    environment = inherited | {
        "RECIPE": "smoke",
        "RESNEXT_CKPT_PATH": str(tmp_path / "outputs"),
        "RESNEXT_TRAIN_IMAGES": "640",
        "RESNEXT_EVAL_IMAGES": "100",
        "CHECKPOINT": str(tmp_path / "outputs/latest/best_acc.ckpt"),
        "OUTPUT": str(tmp_path / "bundles"),
        "GRPC_PORT": str(grpc),
        "HTTP_PORT": str(http),
    }
    server: subprocess.Popen[str] | None = None
    printed: dict[str, str] = {}
    try:
        for command in shown:
            if command in RUN_BY_OTHERS:
                continue
            if command == "make serve":
                _stop(server)
                server = _serve(environment)
            else:
                printed[command] = _run(command.replace("8080", str(http)), environment)
        assert "tot=100,acc=" in printed["make eval"]
        assert "Inference Performance:" in printed["make eval"]
        _own_bundle_answers(grpc, environment)
        program, _ = blocks("README.md", "python")  # the other: tests/oip/test_readme.py
        program = program.replace("50051", str(grpc))
        _run(f".venv/bin/python -c {shlex.quote(program)}", environment)
    finally:
        _stop(server)


def _own_bundle_answers(port: int, environment: dict[str, str]) -> None:
    command = f".venv/bin/python -m clients classify examples/images --address localhost:{port}"
    lines = [json.loads(line) for line in _run(f"{command} --json", environment).splitlines()]
    assert len(lines) == 12
    assert all(0 < line["classes"][0]["probability"] <= 1 for line in lines)


def _run(command: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, shell=True, cwd=ROOT, env=environment, text=True, capture_output=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _serve(environment: dict[str, str]) -> subprocess.Popen[str]:
    server = subprocess.Popen(
        ["make", "serve"],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    return ready(server).process


def _stop(server: subprocess.Popen[str] | None) -> None:
    if server and server.poll() is None:
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate(timeout=60)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
