import subprocess
import sys
import zipfile
from pathlib import Path

from benchmarks.gpu_kit.wheels import LEFT_OUT, LOCK, PROVIDER, RUNTIME, carried, repack
from tests.benchmarks.gpu_kit.elf import library
from tests.requirements.test_locks import pins
from tests.support.paths import ROOT

CODE = b"c" * 40


def test_a_kit_carries_what_the_lock_names_and_an_image_lacks() -> None:
    names = {line.partition("==")[0] for line in carried(ROOT / LOCK, "3.12")}
    assert {RUNTIME, "grpcio", "pydantic-core", "simplejpeg", "pytest-asyncio"} <= names
    assert not names & LEFT_OUT.keys()
    assert not names & {"colorama"}  # for Windows
    # A name that no lock has any more is no longer left out.
    assert LEFT_OUT.keys() <= {name for name, _, _ in pins("cuda-dev")}


def test_every_wheel_is_pinned_with_its_hashes() -> None:
    for line in carried(ROOT / LOCK, "3.12"):
        pin, *hashes = line.split(" --hash=")
        assert "==" in pin
        assert hashes
        assert all(digest.startswith("sha256:") for digest in hashes)


def test_a_repacked_wheel_installs_with_code_for_one_gpu(tmp_path: Path) -> None:
    name = "onnxruntime_gpu-1.0-py3-none-any.whl"
    whole, packed = tmp_path / "whole" / name, tmp_path / name
    whole.parent.mkdir()
    about = "onnxruntime_gpu-1.0.dist-info"
    with zipfile.ZipFile(whole, "w") as wheel:
        wheel.writestr(PROVIDER, library([{75: b"a" * 4096, 90: CODE}]))
        wheel.writestr("onnxruntime/__init__.py", "")
        wheel.writestr("onnxruntime/transformers/large.py", "")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: x\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "outdated,,\n")
    assert repack(whole, packed, 90) == (1, len(CODE), 4096)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    site = tmp_path / "site"
    subprocess.run([*command, "--target", str(site), str(packed)], check=True)
    assert (site / PROVIDER).read_bytes().count(CODE) == 1
    assert not (site / "onnxruntime/transformers").exists()
    record = (site / about / "RECORD").read_text()
    assert f"{PROVIDER},sha256=" in record
    assert "outdated" not in record
