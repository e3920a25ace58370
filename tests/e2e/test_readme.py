"""Every command of the README runs, in the order of the page."""

import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "README_CN.md")
RUN_BY_CI = {"make lint", "make test", "make setup"}  # running the suite from the suite never ends


def commands(readme: str) -> list[str]:
    """Return the lines of the page's `sh` blocks, comments stripped."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / readme).read_text(), re.DOTALL)
    lines = (line.split("  #")[0].strip() for block in blocks for line in block.splitlines())
    return [line for line in lines if line]


def test_ci_runs_what_the_readme_tells_contributors_to_run() -> None:
    script = (ROOT / ".ci/run").read_text().splitlines()
    assert {"make lint", "make test"} <= set(script)


def test_both_readmes_show_the_same_commands() -> None:
    assert commands("README.md") == commands("README_CN.md")


@pytest.mark.timeout(900)
def test_every_command_runs(tmp_path: Path) -> None:
    shown = commands("README.md")
    assert {"make serve", "make train", "make export"} <= set(shown)
    grpc, http = _free_port(), _free_port()
    environment = os.environ | {
        "RECIPE": "smoke",
        "RESNEXT_CKPT_PATH": str(tmp_path / "outputs"),
        "CHECKPOINT": str(tmp_path / "outputs/latest/best_acc.ckpt"),
        "OUTPUT": str(tmp_path / "bundles"),
        "GRPC_PORT": str(grpc),
        "HTTP_PORT": str(http),
    }
    server: subprocess.Popen[str] | None = None
    try:
        for command in shown:
            if command in RUN_BY_CI:
                continue
            if command == "make serve":
                _stop(server)
                server = _serve(environment)
            else:
                _run(command.replace("8080", str(http)), environment)
    finally:
        _stop(server)


def _run(command: str, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, shell=True, cwd=ROOT, env=environment, text=True, capture_output=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def _serve(environment: dict[str, str]) -> subprocess.Popen[str]:
    server = subprocess.Popen(
        ["make", "serve"],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert server.stdout
    for line in server.stdout:
        if "clients classify" in line:
            return server
    raise AssertionError(f"make serve ended with {server.wait()} before it was ready")


def _stop(server: subprocess.Popen[str] | None) -> None:
    if server:
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate(timeout=60)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
