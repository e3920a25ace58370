"""bf16 end to end, on CPUs that have it; elsewhere this file is not collected."""

import json
import shutil
from pathlib import Path

import pytest

from bundle.golden import GOLDEN, prove_pixels, prove_probabilities
from bundle.mates import prove_mates
from bundle.store import Bundle, BundleError, seal
from clients.client import ClassifierClient
from export.__main__ import main
from export.parity import open_runner
from export.parity_record import read_parity
from serving.backends import hardware
from tests.export.precision.test_bundle import Wrapping
from tests.support.process import serve

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, network: Path, images: Path) -> Bundle:
    """A bundle in bf16 and fp32; read-only."""
    wrapping = Wrapping(tmp_path_factory.mktemp("bf16"))
    more = ("--precision", "bf16,fp32", "--images", images, "--batch-size", "4")
    assert main(wrapping.arguments(network, *more)) == 0
    return Bundle.open(wrapping.output / "fashion/1")


def test_it_is_the_fp32_file(bundle: Bundle) -> None:
    bf16, fp32 = bundle.manifest.files
    assert (bf16.precision, fp32.precision) == ("bf16", "fp32")
    assert (bf16.path, bf16.sha256) == (fp32.path, fp32.sha256)
    assert [path.name for path in bundle.path.glob("*.onnx")] == ["model_fp32.onnx"]


def test_its_cost_is_measured_in_openvino(bundle: Bundle) -> None:
    bf16, fp32 = read_parity(bundle.path).files
    assert (bf16.runtime, fp32.runtime) == ("openvino", "onnxruntime")
    assert fp32.largest_difference < 1e-5 < bf16.largest_difference < bf16.tolerance
    assert bf16.tolerance == bundle.file("onnx", "bf16").tolerance
    assert bf16.scores
    page = (bundle.path / "parity.md").read_text()
    assert f"| model_fp32.onnx (bf16) | openvino, cpu | {bf16.largest_difference:.2g} |" in page


def test_the_golden_images_tell_it_from_fp32(bundle: Bundle) -> None:
    golden, pixels = prove_pixels(bundle)
    [own] = golden.files
    bf16, fp32 = bundle.manifest.files
    assert (own.precision, own.tolerance < bf16.tolerance) == ("bf16", True)
    runner = open_runner(bundle.path, bundle.manifest, bf16, "cpu")
    prove_probabilities(bundle, bf16, golden, pixels, runner.predict, runner.runtime)
    prove_mates(bundle, bf16, golden, pixels, runner.predict, runner.runtime, bf16.buckets)
    other = open_runner(bundle.path, bundle.manifest, fp32, "cpu")
    with pytest.raises(BundleError, match=r"\(bf16\): .* what the bf16 file itself gave"):
        prove_probabilities(bundle, bf16, golden, pixels, other.predict, runner.runtime)


def test_answers_of_fp32_do_not_pass_for_its_own(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "fashion/1"
    shutil.copytree(bundle.path, path)
    stated = json.loads((path / GOLDEN).read_text())
    fp32 = [image["probabilities"] for image in stated["images"]]
    stated["files"][0].update(probabilities=fp32, tolerance=1e-5)
    (path / GOLDEN).write_text(json.dumps(stated))
    seal(path)
    forged = Bundle.open(path)
    file = forged.file("onnx", "bf16")
    runner = open_runner(path, forged.manifest, file, "cpu")
    with pytest.raises(BundleError, match=r"\(bf16\): .* what the bf16 file itself gave"):
        prove_probabilities(forged, file, *prove_pixels(forged), runner.predict, runner.runtime)


def test_a_server_proves_runs_and_reports_it(bundle: Bundle) -> None:
    flags = ("--precision", "bf16", "--runtime", "auto", "--instances", "1")
    with serve(bundle.path, *flags) as server, ClassifierClient(server.grpc) as client:
        model = client.get_model("fashion")
        assert (model.precision, model.runtime) == ("bf16", "openvino")


def test_it_is_verified_and_shown(
    bundle: Bundle, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(bundle.path), "--images", str(images)]) == 0
    verified = capsys.readouterr().out
    [row] = [line for line in verified.splitlines() if line.startswith("model_fp32.onnx (bf16) ")]
    assert "openvino cpu" in row
    assert "holds" in row
    assert main(["inspect", str(bundle.path)]) == 0
    shown = capsys.readouterr().out
    rows = [line.split()[1] for line in shown.splitlines() if line.startswith("model_fp32.onnx")]
    assert rows == ["bf16", "fp32"]


def test_without_bf16_the_rest_is_verified(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hardware, "_missing_bf16", lambda: "this CPU has none")
    assert main(["verify", str(bundle.path)]) == 0
    assert "not verified here: this CPU has none" in capsys.readouterr().out
