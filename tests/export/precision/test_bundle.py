"""Reduced precisions in a bundle: made by the export, told apart, served when asked for."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import helper

from bundle.golden import prove_pixels, prove_probabilities, read_golden
from bundle.manifest import MANIFEST
from bundle.stamp import PRECISION
from bundle.store import Bundle, BundleError, seal, sha256
from export.__main__ import main
from export.evaluation_set import HeldImages
from export.parity import open_runner, proving_runtimes
from export.parity_page import PAGE
from export.parity_record import read_parity
from tests.export.precision.conftest import TRANSFORM
from tests.export.precision.networks import write_network
from tests.support.paths import ROOT
from tests.support.serving import running_server
from training.data.idx import FASHION_MNIST_CLASSES

pytestmark = pytest.mark.slow


class Wrapping:
    """What `from-onnx` needs to know of a network of these tests."""

    def __init__(self, folder: Path) -> None:
        self.output = folder / "bundles"
        self.labels, self.transform = folder / "labels.txt", folder / "transform.json"
        self.labels.write_text("\n".join(FASHION_MNIST_CLASSES) + "\n")
        plain = {"mean": [0, 0, 0], "std": [1, 1, 1]}
        stated = {"transform": TRANSFORM.model_dump(mode="json"), "normalization": plain}
        self.transform.write_text(json.dumps(stated))

    def arguments(self, network: Path, *more: str | Path) -> list[str]:
        return [
            *("from-onnx", str(network), "--name", "fashion", "--labels", str(self.labels)),
            *("--transform", str(self.transform), "--output-kind", "probabilities"),
            *("--output", str(self.output), *map(str, more)),
        ]


@pytest.fixture(scope="module")
def wrapping(tmp_path_factory: pytest.TempPathFactory) -> Wrapping:
    return Wrapping(tmp_path_factory.mktemp("wrapping"))


@pytest.fixture(scope="module")
def bundle(wrapping: Wrapping, network: Path, images: Path) -> Bundle:
    more = ("--precision", "int8,fp32,fp16", "--images", images, "--max-accuracy-drop", "2")
    assert main(wrapping.arguments(network, *more)) == 0
    return Bundle.open(wrapping.output / "fashion/1")


def test_files_come_in_the_order_asked_for(bundle: Bundle) -> None:
    assert [(file.precision, file.path) for file in bundle.manifest.files] == [
        ("int8", "model_int8.onnx"),
        ("fp32", "model_fp32.onnx"),
        ("fp16", "model_fp16.onnx"),
    ]


def test_tolerances_are_measured(bundle: Bundle) -> None:
    parity = read_parity(bundle.path).files
    for file in bundle.manifest.files:
        measured = [one for one in parity if one.title == file.title]
        assert {one.tolerance for one in measured} == {file.tolerance}
        largest = max(one.rounded_difference or one.largest_difference for one in measured)
        if file.precision == "fp32":
            assert file.tolerance == 1e-5
        else:
            assert largest < file.tolerance < 3 * largest + 1e-5


def test_fp16_may_differ_as_it_does_where_every_value_is_rounded(bundle: Bundle) -> None:
    *others, fp16 = read_parity(bundle.path).files
    assert {file.rounded_difference for file in others} == {None}
    assert fp16.precision == "fp16"
    assert fp16.rounded_difference
    assert fp16.rounded_difference > fp16.largest_difference
    assert 2 * fp16.rounded_difference <= fp16.tolerance < 2.2 * fp16.rounded_difference
    assert "model_fp16.onnx rounded to float16 after every" in (bundle.path / PAGE).read_text()


def test_parity_tells_what_int8_cost(bundle: Bundle) -> None:
    parity = read_parity(bundle.path)
    served, int8, fp32, fp16 = parity.files
    assert (served.precision, served.runtime) == ("int8", "openvino")
    assert served.scores
    assert {file.quantization for file in (served, fp32, fp16)} == {None}
    assert int8.quantization
    assert int8.scores
    assert parity.checkpoint
    lost = parity.checkpoint.top1_correct - int8.scores.top1_correct
    assert int8.quantization.accuracy_drop == pytest.approx(100 * lost / parity.images)
    assert int8.quantization.max_accuracy_drop == 2
    assert int8.quantization.kept_in_float == []


def test_every_file_is_proved_by_the_golden_images(bundle: Bundle) -> None:
    golden, pixels = prove_pixels(bundle)
    recorded = [(own.precision, own.runtime) for own in golden.files]
    assert recorded == [("int8", "openvino"), ("int8", "onnxruntime")]
    for file in bundle.manifest.files:
        for runtime in proving_runtimes(file, "cpu"):
            runner = open_runner(bundle.path, bundle.manifest, file, "cpu", runtime=runtime)
            prove_probabilities(bundle, file, golden, pixels, runner.predict, runner.runtime)


@pytest.mark.parametrize("there", ["fp32", "fp16"])
def test_another_file_does_not_pass_for_int8(bundle: Bundle, there: str, tmp_path: Path) -> None:
    path = tmp_path / "fashion/1"
    shutil.copytree(bundle.path, path)
    forged = onnx.load(path / f"model_{there}.onnx")
    stamp = {entry.key: entry.value for entry in forged.metadata_props}
    helper.set_model_props(forged, stamp | {PRECISION: "int8"})
    onnx.save(forged, path / "model_int8.onnx")
    stated = json.loads((path / MANIFEST).read_text())
    stated["files"][0]["sha256"] = sha256(path / "model_int8.onnx")
    (path / MANIFEST).write_text(json.dumps(stated))
    seal(path)
    resealed = Bundle.open(path)
    golden, pixels = prove_pixels(resealed)
    file = resealed.file("onnx", "int8")
    runner = open_runner(path, resealed.manifest, file, "cpu")
    with pytest.raises(BundleError, match=r"model_int8\.onnx: .* what the int8 file itself gave"):
        prove_probabilities(resealed, file, golden, pixels, runner.predict, runner.runtime)


def test_a_broken_record_of_answers_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    stated = json.loads((bundle.path / "golden/golden.json").read_text())
    stated["files"][0]["probabilities"].pop()
    (tmp_path / "golden").mkdir()
    (tmp_path / "golden/golden.json").write_text(json.dumps(stated))
    with pytest.raises(BundleError, match=r"int8 answers are not \(10, 10\) probabilities"):
        read_golden(tmp_path)


@pytest.mark.parametrize(("asked", "used"), [("int8", "int8"), (None, "fp32")])
async def test_a_server_runs_int8_only_when_asked(bundle: Bundle, asked: str, used: str) -> None:
    async with running_server(bundle.path, precision=asked) as server:
        assert server.repository.get("", "").placement.precision == used


def test_the_same_network_gives_the_same_bytes(
    bundle: Bundle, wrapping: Wrapping, network: Path, images: Path
) -> None:
    more = ("--precision", "int8", "--images", images, "--max-accuracy-drop", "2")
    command = [sys.executable, "-m", "export", *wrapping.arguments(network, *more)]
    # In another process sets of names come in another order.
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
    again = wrapping.output / "fashion/2/model_int8.onnx"
    assert again.read_bytes() == (bundle.path / "model_int8.onnx").read_bytes()


def test_a_bound_that_cannot_be_met_leaves_no_bundle(
    images: Path, fitting: HeldImages, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = write_network(tmp_path / "fp32.onnx", fitting, outliers=4)
    wrapping = Wrapping(tmp_path)
    more = ("--precision", "fp32,int8", "--images", images)
    assert main(wrapping.arguments(network, *more)) == 1
    told = capsys.readouterr().err
    assert "--max-accuracy-drop allows, 0.5 percentage points, even with 3 of 7 layers" in told
    assert "layers in float, so nothing was exported" in told
    assert "300 held-out training images" in told
    for count in range(4):
        assert f"{count} in float: " in told
    assert not list(wrapping.output.glob("fashion/*"))


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (("--precision", "int8"), 2, "--images DIR"),
        (("--precision", "fp8"), 2, "'fp32', 'bf16', 'fp16' or 'int8'"),
        (("--precision", "int8,int8"), 2, "each only once"),
        (("--max-accuracy-drop", "-1"), 2, "greater than or equal to 0"),
    ],
)
def test_a_wrong_call_is_told(
    wrapping: Wrapping,
    network: Path,
    arguments: tuple[str, ...],
    code: int,
    hint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(wrapping.arguments(network, *arguments)) == code
    assert hint in capsys.readouterr().err


def test_reduced_precisions_need_onnx(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--ckpt-file", "x.ckpt", "--file-format", "MINDIR", "--precision", "fp16"]
    assert main(arguments) == 2
    assert "add ONNX to --file-format" in capsys.readouterr().err


def test_a_file_in_fp16_is_not_made_int8(
    wrapping: Wrapping, bundle: Bundle, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = bundle.path / "model_fp16.onnx"
    more = ("--precision", "fp32,int8", "--images", images)
    assert main(wrapping.arguments(half, *more)) == 1
    assert "the original is fp16 already" in capsys.readouterr().err
