"""The program that runs a kit, as far as it comes without a GPU."""

import io
import json
import os
import platform
import select
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.command import Benchmark, errors
from benchmarks.gpu import GpuBench
from benchmarks.gpu_kit.__main__ import KIT, RUN, SOURCE, pack_source
from benchmarks.gpu_kit.run import (
    FP16_VARIANTS,
    FP32_VARIANTS,
    NO_DRIVER,
    WRONG_PYTHON,
    Run,
    Step,
    missing_driver,
    steps,
)
from benchmarks.gpu_kit.skeleton import cut
from benchmarks.gpu_torch import GpuTorch
from benchmarks.variants import Variant
from bundle.store import Bundle
from cli.program import FAILED, Command, main
from serving.backends.settings import CUDA_OPTIONS
from tests.support.paths import ROOT

PYTHON = ".".join(platform.python_version_tuple()[:2])


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """A kit without wheels: this environment has everything."""
    folder = tmp_path / "kit"
    folder.mkdir()
    shutil.copyfile(RUN, folder / RUN.name)
    (folder / KIT).write_text(json.dumps({"revision": "0123abcd", "python": PYTHON}))
    return folder


def run_kit(kit: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(kit / RUN.name), "--output", str(kit / "out"), *flags]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=kit)


@pytest.mark.slow
@pytest.mark.skipif(missing_driver() is None, reason="there is an NVIDIA driver")
def test_everything_is_prepared_up_to_the_driver(kit: Path, untrained: Bundle) -> None:
    cut(untrained, kit / "skeleton")
    pack_source(ROOT, kit / SOURCE)
    done = run_kit(kit, "--dry-run")
    assert done.returncode == NO_DRIVER, done.stdout + done.stderr
    assert "no NVIDIA driver: libcuda.so.1: cannot open shared object file" in done.stdout
    assert untrained.digest in (kit / "out/log.txt").read_text()
    record = json.loads((kit / "out/run.json").read_text())
    assert record["revision"] == "0123abcd"
    assert [(step["name"], step["code"]) for step in record["steps"]] == [
        ("bundle", 0),
        ("photos", 0),
        ("devices", 0),
    ]


def test_another_python_is_refused(kit: Path) -> None:
    (kit / KIT).write_text(json.dumps({"revision": "0123abcd", "python": "3.9"}))
    done = run_kit(kit)
    assert done.returncode == WRONG_PYTHON
    assert f"this kit is for Python 3.9, and this is {PYTHON}" in done.stderr


def test_a_step_ends_at_its_limit_with_all_its_children(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    with (tmp_path / "log").open("w") as log:
        run = Run(log, limit_s=60)
        run.step(Step("hangs", 3, ["hangs"]), tmp_path, os.environ)
    [done] = run.done
    assert (done.name, done.code) == ("hangs", None)
    child = int((tmp_path / "log").read_text().split("\n")[1])
    with suppress(ProcessLookupError):
        ended, _, _ = select.select([os.pidfd_open(child)], [], [], 30)
        assert ended


def test_what_there_is_no_time_for_is_left_out(tmp_path: Path) -> None:
    run = Run(io.StringIO(), limit_s=1)
    run.step(Step("late", 60, ["this"]), tmp_path, os.environ)
    assert run.done == [("late", None, 0.0)]


@pytest.mark.skipif(missing_driver() is None, reason="there is an NVIDIA driver")
@pytest.mark.skipif(find_spec("torch") is not None, reason="there is PyTorch")
def test_the_programs_take_the_flags_of_their_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What they do not take would show on the borrowed machine, and cost its time."""
    programs: dict[str, type[Benchmark]] = {
        "benchmarks.gpu": GpuBench,
        "benchmarks.gpu_torch": GpuTorch,
    }
    taken = []
    for name, _, (module, *words) in steps(tmp_path / "bundle", tmp_path / "photos", tmp_path):
        if module in programs:
            command = Command(programs[module], programs[module].run)
            assert main({"": command}, errors, words) == FAILED
            said = capsys.readouterr().err
            assert "cannot be measured here" in said or "PyTorch cannot be imported" in said
            taken.append(name)
    assert taken == ["fp16, variants", "bare and served", "fp32, variants", "PyTorch"]


def test_the_variants_change_options_that_a_server_takes() -> None:
    """ONNX Runtime refuses others, but only there."""
    changed = {
        name for text in FP16_VARIANTS + FP32_VARIANTS for name in Variant.parse(text).options
    }
    assert changed <= {*CUDA_OPTIONS}
