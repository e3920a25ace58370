import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import MagicMock, Mock

import pytest

from benchmarks import gpu
from benchmarks.gpu import GpuBench, Measured
from benchmarks.gpu_session import open_variant
from benchmarks.variants import BatchTimes, Variant, VariantTimes, measure
from bundle.golden import GOLDEN, prove_pixels, read_golden
from bundle.store import Bundle
from cli.program import UsageError
from serving.backends.backend import Target
from serving.backends.devices import Device
from serving.backends.hardware import missing
from serving.backends.settings import DEFAULTS
from serving.errors import ProcessLostError, StartupError
from tests.support.bundles import BUCKETS, reseal, write_bundle
from tests.support.paths import ROOT, SAMPLES


def bench(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)


@pytest.mark.slow
def test_bare_served_variants_and_parity_are_recorded(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)
    flags = ["--model", str(bundle), "--images", str(SAMPLES), "--output", str(tmp_path)]
    flags += ["--device", "cpu", "--duration-s", "0.1", "--concurrency", "1,2"]
    done = bench(*flags, "--variants", "usual")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "gpu.json").read_text())
    assert record["device"] == "cpu"
    assert "onnxruntime" in " ".join(record["versions"])
    [fp32] = record["measured"]
    assert fp32["difference"] <= fp32["tolerance"]
    assert [row["batch"] for row in fp32["bare"]] == BUCKETS
    assert all(row["images_per_second"] > 0 for row in fp32["bare"])
    assert list(fp32["served"]) == ["1", "2"]
    [usual] = fp32["variants"]
    assert [times["batch"] for times in usual["batches"]] == BUCKETS
    for times in usual["batches"]:
        assert times["error"] is None
        assert 0 < times["ms"] <= 2 * times["ms_with_copies"]
        assert times["first_s"] > 0
        assert max(times["difference"], times["replay_difference"]) <= fp32["tolerance"]
    page = (tmp_path / "gpu.md").read_text()
    for title in ("tiny/1 on cpu, bare", "Through the server", "Golden images", "Variants, each"):
        assert f"## {title}" in page
    assert "Failures" not in page


@pytest.mark.slow
def test_what_fails_is_recorded_and_the_rest_measured(tmp_path: Path) -> None:
    path = write_bundle(tmp_path)
    golden = read_golden(path)
    far = [0.5, 0.5, 0.0, 0.0, 0.0, 0.0]
    images = [image.model_copy(update={"probabilities": far}) for image in golden.images]
    (path / GOLDEN).write_text(golden.model_copy(update={"images": images}).model_dump_json())
    reseal(path)
    flags = ["--model", str(path), "--images", str(SAMPLES), "--output", str(tmp_path)]
    flags += ["--device", "cpu", "--duration-s", "0.1", "--concurrency", "1"]
    done = bench(*flags, "--variants", "unmerged,usual", "--batches", "1,4")
    assert done.returncode == 1
    assert "differ by" in done.stderr
    assert "Traceback" not in done.stderr.rpartition("error: ")[2]
    [fp32] = json.loads((tmp_path / "gpu.json").read_text())["measured"]
    assert fp32["difference"] > fp32["tolerance"]
    assert [row["batch"] for row in fp32["bare"]] == [1, 4]
    unmerged, usual = fp32["variants"]
    assert "no group of its convolutions is merged" in unmerged["error"]
    assert [times["error"] for times in usual["batches"]] == [None, None]
    # A server refuses such a bundle.
    assert fp32["served"] == {}
    not_served, missed = fp32["failures"]
    assert "differ by" in missed
    assert "did not become ready" in not_served
    assert "## Failures" in (tmp_path / "gpu.md").read_text()


@pytest.mark.skipif(missing("onnxruntime", Device("cuda")) is None, reason="there is a GPU")
def test_without_a_gpu_it_says_what_is_missing() -> None:
    done = bench()
    assert done.returncode == 1
    assert done.stderr.startswith("error: cuda:0 cannot be measured here: ")


def test_both_packages_of_the_runtime_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = {"onnxruntime": ["onnxruntime", "onnxruntime-gpu", "onnxruntime"]}
    monkeypatch.setattr(gpu, "packages_distributions", lambda: installed)
    monkeypatch.setattr("benchmarks.records.version", lambda name: f"that of {name}")
    bundle = Bundle.open(write_bundle(tmp_path))
    record = GpuBench(model=bundle.path)._record(bundle, Device("cpu"))
    assert record.versions["onnxruntime"] == "that of onnxruntime"
    assert record.versions["onnxruntime-gpu"] == "that of onnxruntime-gpu"


def test_a_revision_can_be_told_where_there_is_no_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_REVISION", "0123abcd")
    bundle = Bundle.open(write_bundle(tmp_path))
    record = GpuBench(model=bundle.path)._record(bundle, Device("cpu"))
    assert record.revision == "0123abcd"


@pytest.mark.parametrize(
    ("error", "closed"), [(ProcessLostError("error 700"), 0), (ValueError("nonsense"), 1)]
)
def test_what_is_lost_with_the_process_is_not_closed(
    error: Exception, closed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That would abort it, and nothing more be measured."""
    backend = MagicMock(run=Mock(side_effect=error))
    monkeypatch.setattr(gpu, "load", lambda *_, **__: [backend])
    bundle = Bundle.open(write_bundle(tmp_path))
    [file] = bundle.manifest.files
    measured = Measured(precision="fp32", tolerance=file.tolerance)
    with pytest.raises(type(error)):
        GpuBench()._bare(bundle, file, Device("cuda"), *prove_pixels(bundle), measured)
    assert backend.close.call_count == closed


@pytest.mark.parametrize(
    ("text", "variant"),
    [
        ("usual", Variant({})),
        ("use_tf32=1", Variant({"use_tf32": "1"})),
        ("prefer_nhwc=0+unmerged", Variant({"prefer_nhwc": "0"}, unmerged=True)),
        ("capture-at-once", Variant({}, at_once=True)),
    ],
)
def test_a_variant_is_what_it_says(text: str, variant: Variant) -> None:
    assert Variant.parse(text) == variant


@pytest.mark.parametrize("text", ["", "tf32", "usual+use_tf32=1", "use_tf32="])
def test_another_variant_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="options of the provider, as use_tf32=1"):
        Variant.parse(text)


@pytest.mark.skipif(missing("onnxruntime", Device("cuda")) is None, reason="there is a GPU")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_variant_that_would_run_on_the_cpu_is_refused(tmp_path: Path) -> None:
    bundle = Bundle.open(write_bundle(tmp_path))
    [file] = bundle.manifest.files
    target = Target(bundle.path, bundle.manifest, file, Device("cuda"), [1], DEFAULTS)
    with pytest.raises(StartupError, match="cuda:0 was asked for, but ONNX Runtime uses"):
        open_variant(target, Variant({}))


def test_a_variant_that_takes_too_long_ends_with_what_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = VariantTimes(
        precision="fp16", variant="usual", opened_s=2.5, batches=[BatchTimes(batch=1, ms=1.0)]
    )

    def run(command: list[str], **_: object) -> None:
        output = f"{known.model_dump_json()}\n{{half a li".encode()
        raise subprocess.TimeoutExpired(command, 9, output)

    monkeypatch.setattr(subprocess, "run", run)
    times = measure(["--model", tmp_path], "fp16", "usual", timeout_s=9)
    assert times == known.model_copy(update={"error": "not done after 9 s"})
    assert times.failed
    [row, failure] = times.rows()
    assert row[:4] == ["fp16", "usual", "1", "2.5"]
    assert failure[-1] == "not done after 9 s"


@pytest.mark.skipif(find_spec("torch") is not None, reason="there is PyTorch")
def test_without_pytorch_the_comparison_says_so() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu_torch"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: PyTorch cannot be imported: No module named 'torch'")
