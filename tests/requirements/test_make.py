"""What `make` does first."""

import subprocess

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
