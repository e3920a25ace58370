"""Tests in a folder `inside`: they need Arrow and Ray, which another environment has."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PYTHON = ROOT / ".venv-ray/bin/python"


def run_inside(tests: Path, folder: Path) -> None:
    """Run tests with the interpreter of .venv-ray and the pytest.ini of their folder.

    Args:
        tests: a file, or the whole folder.
        folder: where they may write.
    """
    if not PYTHON.exists():
        pytest.skip("there is no environment with Ray: make .venv-ray/.ray-dev")
    ini = (tests if tests.is_dir() else tests.parent) / "pytest.ini"
    flags = ("-c", ini, "-p", "no:cacheprovider", "--quiet", f"--basetemp={folder / 'inside'}")
    done = subprocess.run(
        [PYTHON, "-m", "pytest", *flags, tests],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
