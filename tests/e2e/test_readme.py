"""Every command of the README runs, in the order of the page, in a copy of the repository."""

import os
import re
import shutil
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


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the tracked files that shares the installed environment."""
    tracked = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True)
    for name in filter(None, tracked.split("\0")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    return tmp_path


def test_ci_runs_what_the_readme_tells_contributors_to_run() -> None:
    script = (ROOT / ".ci/run").read_text().splitlines()
    assert {"make lint", "make test"} <= set(script)


def test_both_readmes_show_the_same_commands() -> None:
    assert commands("README.md") == commands("README_CN.md")


@pytest.mark.timeout(900)
def test_every_command_runs(clone: Path) -> None:
    shown = commands("README.md")
    assert {"make serve", "make train", "make export"} <= set(shown)
    grpc, http = _free_port(), _free_port()
    environment = os.environ | {
        "RECIPE": "smoke",
        "GRPC_PORT": str(grpc),
        "HTTP_PORT": str(http),
    }
    server: subprocess.Popen[str] | None = None
    try:
        for command in shown:
            if command in RUN_BY_CI:
                continue
            command = command.replace("50051", str(grpc)).replace("8080", str(http))
            command = command.replace("RECIPE=fashion_mnist_bundle", "RECIPE=smoke")
            if command.startswith("make serve"):
                _stop(server)
                server = _serve(command, clone, environment)
                continue
            done = subprocess.run(
                command, shell=True, cwd=clone, env=environment, text=True, capture_output=True
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    finally:
        _stop(server)


def _serve(command: str, clone: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    server = subprocess.Popen(
        command,
        shell=True,
        cwd=clone,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert server.stdout
    for line in server.stdout:
        if "clients classify" in line:
            return server
    raise AssertionError(f"{command} ended with {server.wait()} before it was ready")


def _stop(server: subprocess.Popen[str] | None) -> None:
    if server:
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate(timeout=60)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
