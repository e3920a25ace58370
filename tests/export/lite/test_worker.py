"""The converter's process by itself, with libraries that take other NPU models."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from export.lite.converter import WORKER, optimize

# As `Converter.optimize` of 2.0.0 and of later versions.
LIBRARY = """
from types import SimpleNamespace
version = SimpleNamespace(__version__={version!r})
ModelType = SimpleNamespace(MINDIR=0)
FmkType = SimpleNamespace(ONNX=2)

class Converter:
    def __setattr__(self, name, value):
        if name == "optimize" and value not in {taken!r}:
            raise ValueError(f"chip_name must be another, not {{value}}")

    def convert(self, *arguments, **options):
        print("converting")
"""
OLD, NEW = ("2.0.0", ["ascend_oriented"]), ("2.3.1", ["ascend_oriented", "ascend_oriented:910b"])


def convert(folder: Path, version: str, taken: list[str], soc: str | None) -> tuple[int, str]:
    (folder / "mindspore_lite.py").write_text(LIBRARY.format(version=version, taken=taken))
    settings = {"model": "a.onnx", "output": "b", "optimize": optimize(soc)}
    done = subprocess.run(
        [sys.executable, WORKER, json.dumps(settings)],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout or done.stderr.strip()


@pytest.mark.parametrize(
    ("library", "soc"), [(OLD, None), (NEW, None), (NEW, "910b")], ids=["2.0", "2.3", "2.3-910b"]
)
def test_what_the_converter_takes_is_converted(
    library: tuple[str, list[str]], soc: str | None, tmp_path: Path
) -> None:
    assert convert(tmp_path, *library, soc) == (0, library[0])


@pytest.mark.parametrize(
    ("library", "soc", "told"),
    [(OLD, "910b", "2.0.0 takes none: leave --soc out"), (NEW, "310p", "2.3.1 may take 910b only")],
    ids=["2.0", "2.3"],
)
def test_another_npu_model_is_refused_in_one_sentence(
    library: tuple[str, list[str]], soc: str, told: str, tmp_path: Path
) -> None:
    code, error = convert(tmp_path, *library, soc)
    assert code == 1
    start = f"--soc {soc} is refused; the converter of MindSpore Lite {told} (chip_name "
    assert error.startswith(start)
    assert "Traceback" not in error
