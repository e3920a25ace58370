"""What `make` does first."""

import shlex
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.paths import ROOT


@pytest.mark.parametrize(
    "target", ["serve DEVICE=cuda", "serve DEVICE=tensorrt:0", "train PLATFORM=GPU", "bench-gpu"]
)
def test_a_gpu_is_looked_for_before_gigabytes_are_installed_for_it(target: str) -> None:
    command = ["make", "--dry-run", "--always-make", *target.split()]
    planned = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert 0 <= planned.find("libcuda.so.1") < planned.find("pip install")


def test_serve_passes_flags_on() -> None:
    command = ["make", "--dry-run", "serve", "ARGS=--host 0.0.0.0"]
    planned = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    _, _, flags = planned.partition("-m serving ")
    assert "--host 0.0.0.0" in flags


@pytest.mark.parametrize("output", ["my models", "Größe/模型 'a' \"b\" (1); *&"])
def test_folders_may_have_any_letters(output: str, tmp_path: Path) -> None:
    """`make export` writes there, and `make serve` finds the newest bundle there."""
    folder = tmp_path / output
    bundle = folder / "tiny" / "1"
    bundle.mkdir(parents=True)
    assert make("export", f"OUTPUT={folder}", "ARGS=")["--output"] == str(folder)
    assert make("serve", f"OUTPUT={folder}", "ARGS=")["--model"] == str(bundle)
    assert make("serve", f"MODEL={bundle}//", "ARGS=")["--model"] == str(bundle)


def make(*arguments: str) -> dict[str, str]:
    """Return the flags that a target gives to its program, which is only told, not run."""
    told = subprocess.run(
        ["make", "--dry-run", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    command = told.stdout[told.stdout.index(".venv/bin/python -m ") :].replace("\\\n", " ")
    words = shlex.split(command)
    return dict(pairwise(words))
