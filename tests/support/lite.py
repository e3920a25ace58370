"""MindSpore Lite's real library, in the environment that `make lite-env` builds."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

LITE_PYTHON = ROOT / ".venv-lite/bin/python"


def lite_python() -> Path:
    """Return its interpreter; skip the test where there is none (in CI that fails)."""
    if not LITE_PYTHON.exists():
        pytest.skip("MindSpore Lite is not installed: make lite-env (needs a Python 3.7)")
    return LITE_PYTHON


def convert(bundle: Path, output: Path, *flags: str) -> Path:
    """Run `python -m export convert` and return the copy's directory."""
    command = [sys.executable, "-m", "export", "convert", str(bundle), "--output", str(output)]
    done = subprocess.run(
        [*command, "--lite-python", str(lite_python()), *flags],
        cwd=ROOT,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    return output / bundle.parent.name / bundle.name


def shared_memory(pid: int) -> set[str]:
    """Return the files of /dev/shm, those without a name too, that a process maps or has open."""
    process = Path("/proc", str(pid))
    mapped = [line.split(maxsplit=5)[-1] for line in (process / "maps").read_text().splitlines()]
    opened = [_target(link) for link in (process / "fd").iterdir()]
    return {file for file in mapped + opened if file.startswith("/dev/shm")}


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # it was closed meanwhile
        return ""
