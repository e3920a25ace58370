"""ONNX Runtime does not call home, and finds the libraries that are installed as packages."""

import _ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

# What it reports it sends later, from a thread that its import starts.
IMPORT = """
import os, numpy
before = os.listdir("/proc/self/task")
from serving.backends.ort.library import onnxruntime
print(os.environ["ORT_DISABLE_TELEMETRY"], len(os.listdir("/proc/self/task")) - len(before))
"""


@pytest.mark.parametrize(("chosen", "said"), [(None, "1 0"), ("1", "1 0"), ("0", "0 1")])
def test_telemetry_is_off_unless_the_user_turns_it_on(
    chosen: str | None, said: str, tmp_path: Path
) -> None:
    # Nothing else: with CI=true, ONNX Runtime keeps quiet of itself.
    environment = {"PATH": os.environ["PATH"]}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    if chosen is not None:
        environment["ORT_DISABLE_TELEMETRY"] = chosen
    command = [sys.executable, "-c", IMPORT]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, text=True, capture_output=True, check=True
    )
    assert done.stdout == f"{said}\n"
    assert bool(list(tmp_path.iterdir())) is (chosen == "0")


PRELOAD = """
from serving.backends.ort.library import preload
for kind in ("cuda", "tensorrt"):
    preload(kind)
    paths = {line.split()[-1] for line in open("/proc/self/maps")}
    print(*sorted(path.split("/")[-1] for path in paths if "/tensorrt_libs/" in path))
"""


def test_the_libraries_of_tensorrt_are_loaded_from_their_package(tmp_path: Path) -> None:
    package = tmp_path / "tensorrt_libs"
    package.mkdir()
    (package / "__init__.py").write_text("print('kernels')")
    for name in ("libnvinfer.so.10", "libnvonnxparser.so.10"):
        shutil.copy(_ctypes.__file__, package / name)
    done = subprocess.run(
        [sys.executable, "-c", PRELOAD],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        text=True,
        capture_output=True,
        check=True,
    )
    assert done.stdout.split() == ["kernels", "libnvinfer.so.10", "libnvonnxparser.so.10"]
