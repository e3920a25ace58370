"""The clients of others, in an environment of their own: they need protobuf 6."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT


def foreign(
    *words: str | Path, cwd: Path = ROOT, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run the interpreter of `.venv-oip` with these arguments and environment variables."""
    python = ROOT / ".venv-oip/bin/python"
    if not python.exists():
        pytest.skip("there are no clients of others: make oip-env")
    return subprocess.run(
        [str(python), *map(str, words)],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **variables},
        text=True,
        capture_output=True,
        check=False,
    )
