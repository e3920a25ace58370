import json
import subprocess
import sys
from pathlib import Path

import pytest

from serving.backends.devices import Device
from serving.backends.hardware import missing
from tests.support.bundles import BUCKETS, write_bundle
from tests.support.paths import ROOT, SAMPLES


def bench(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)


@pytest.mark.slow
def test_bare_served_and_parity_are_recorded(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)
    flags = ["--model", str(bundle), "--images", str(SAMPLES), "--output", str(tmp_path)]
    done = bench(*flags, "--device", "cpu", "--duration-s", "0.1", "--concurrency", "1,2")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "gpu.json").read_text())
    assert record["device"] == "cpu"
    assert "onnxruntime" in " ".join(record["versions"])
    [fp32] = record["measured"]
    assert fp32["difference"] <= fp32["tolerance"]
    assert [row["batch"] for row in fp32["bare"]] == BUCKETS
    assert all(row["images_per_second"] > 0 for row in fp32["bare"])
    assert list(fp32["served"]) == ["1", "2"]
    page = (tmp_path / "gpu.md").read_text()
    for title in ("tiny/1 on cpu, bare", "Through the server", "Golden images"):
        assert f"## {title}\n" in page


@pytest.mark.skipif(missing("onnxruntime", Device("cuda")) is None, reason="there is a GPU")
def test_without_a_gpu_it_says_what_is_missing() -> None:
    done = bench()
    assert done.returncode == 1
    assert done.stderr.startswith("error: cuda:0 cannot be measured here: ")
