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
from pathlib import Path

import pytest

from benchmarks.gpu_kit.__main__ import KIT, RUN, SOURCE, pack_source
from benchmarks.gpu_kit.run import NO_DRIVER, WRONG_PYTHON, Run, Step, missing_driver, steps
from benchmarks.gpu_kit.skeleton import cut
from bundle.store import Bundle
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


def test_the_steps_are_commands_that_exist(tmp_path: Path) -> None:
    for step in steps(tmp_path / "bundle", tmp_path / "photos", tmp_path):
        if step.arguments[0].startswith("benchmarks."):
            module = ROOT / f"{step.arguments[0].replace('.', '/')}.py"
            assert module.exists()
    assert sum(step.limit_s for step in steps(tmp_path, tmp_path, tmp_path)) > 450
