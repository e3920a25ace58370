"""The worker's process by itself, with libraries that hang or cannot be loaded."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from serving.backends.lite.process import WORKER
from serving.backends.lite.worker import PLUGIN, PROTOCOL

HANGING = "import time; print('busy', flush=True); time.sleep(600)"


def test_a_worker_that_hangs_ends_with_its_server(tmp_path: Path) -> None:
    (tmp_path / "mindspore_lite.py").write_text(HANGING)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        worker = subprocess.Popen(
            [sys.executable, WORKER, str(theirs.fileno()), "0"],
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            stdout=subprocess.PIPE,
            pass_fds=(theirs.fileno(),),
        )
        assert worker.stdout
        ours.send(json.dumps({"protocol": PROTOCOL}).encode())
        assert worker.stdout.readline() == b"busy\n"
    with worker:
        try:
            worker.wait(30)
        finally:
            worker.kill()


# As Context and Model of 2.0.0, on a machine without CANN.
WITHOUT_CANN = """
from types import SimpleNamespace
version = SimpleNamespace(__version__={version!r})
ModelType = SimpleNamespace(MINDIR=0)
Context = lambda: SimpleNamespace(cpu=SimpleNamespace(), ascend=SimpleNamespace())

class Model:
    def build_from_file(self, *arguments):
        raise RuntimeError("build_from_file failed! Error is Common error code.")
"""


def load_failure(folder: Path, version: str, device: str) -> str:
    """Return what a worker answers that has to load a model where the library fails."""
    package = folder / "mindspore_lite"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text(WITHOUT_CANN.format(version=version))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    settings = {"protocol": PROTOCOL, "model": "m", "device": device, "device_id": 0}
    with ours, theirs:
        ours.send(json.dumps({**settings, "threads": 1, "precision_mode": "x"}).encode())
        subprocess.run(
            [sys.executable, WORKER, str(theirs.fileno()), "0"],
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            pass_fds=(theirs.fileno(),),
            timeout=30,
        )
        error: str = json.loads(ours.recv(65536))["error"]
        return error


FAILED = "RuntimeError: build_from_file failed! Error is Common error code"


@pytest.mark.parametrize(
    ("version", "name", "old"),
    [("2.0.0", f"{PLUGIN}_python.so", True), ("2.3.1", f"{PLUGIN}.so", False)],
    ids=["2.0", "2.3"],
)
def test_the_library_that_an_npu_lacks_is_named(
    version: str, name: str, old: bool, tmp_path: Path
) -> None:
    library = tmp_path / "mindspore_lite/lib" / name
    library.parent.mkdir(parents=True)
    library.write_text("no library")  # stands for one that needs what is not there
    told = load_failure(tmp_path, version, "ascend")
    assert told.startswith(f"{FAILED}; {name} cannot be loaded: {library}: file too short")
    assert "source CANN's set_env.sh first" in told
    assert ("beside CANN 8 use 2.3 or later" in told) == old


def test_a_package_without_the_plugin_is_told(tmp_path: Path) -> None:
    told = load_failure(tmp_path, "2.0.0", "ascend")
    reason = f"this package of MindSpore Lite is not built for Ascend: it has no {PLUGIN}"
    assert told == f"{FAILED}; {reason}"


def test_a_cpu_needs_no_plugin(tmp_path: Path) -> None:
    assert load_failure(tmp_path, "2.0.0", "cpu") == f"{FAILED}."
