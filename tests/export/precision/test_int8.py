"""int8: within its bound, at the cost of as few layers as possible, or not at all."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from export.errors import ExportError
from export.evaluation_set import Classes, EvaluationSet, HeldImages, open_images
from export.precision.int8 import Int8Task, answers, fewest, write_int8
from export.precision.training_images import split
from tests.export.precision.conftest import TRANSFORM
from tests.export.precision.networks import write_network
from tests.export.runtime import has_nothing_to_say

BATCH = 20


def first(path: Path, images: EvaluationSet) -> Classes:
    return answers(path, images.batches(BATCH), BATCH).argmax(axis=1)


def correct(path: Path, images: EvaluationSet) -> int:
    return int((first(path, images) == images.labels).sum())


def task(
    source: Path, folder: Path, evaluation: EvaluationSet, *, max_drop: float = 2.0
) -> Int8Task:
    return Int8Task(folder, evaluation, first(source, evaluation), max_drop, BATCH)


@pytest.fixture(scope="module")
def quantized(
    network: Path, images: Path, evaluation: EvaluationSet, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("int8") / "int8.onnx"
    report, held_out = write_int8(network, path, task(network, images, evaluation))
    assert held_out.pixels.shape == (300, 28, 28, 3)
    expected = answers(network, [held_out.pixels], 300)
    np.testing.assert_allclose(held_out.answers, expected, atol=1e-6)
    assert (report.layers, report.kept_in_float) == (3, [])
    assert (report.calibration_images, report.held_out_images) == (300, 300)
    assert report.held_out_correct[report.method] == max(report.held_out_correct.values())
    drop = (correct(network, evaluation) - correct(path, evaluation)) / 3
    assert report.accuracy_drop == pytest.approx(drop)
    assert drop <= report.max_accuracy_drop == 2.0
    return path


def test_a_sound_network_keeps_its_accuracy(
    network: Path, quantized: Path, evaluation: EvaluationSet
) -> None:
    assert correct(network, evaluation) > 0.65 * len(evaluation), "chance would prove nothing"
    fp32, int8 = (answers(p, evaluation.batches(BATCH), BATCH) for p in (network, quantized))
    difference = np.abs(fp32 - int8).max()
    assert 1e-3 < difference < 0.1
    # Steps of 1/255 would tell of a softmax in eight bits.
    assert np.abs(int8 * 255 - np.rint(int8 * 255)).max() > 0.2


def test_weights_are_bytes_with_a_scale_per_channel(quantized: Path, network: Path) -> None:
    tensors = {tensor.name: tensor for tensor in onnx.load(quantized).graph.initializer}
    for layer, channels in (("stem", 24), ("body", 24)):
        weight = onnx.numpy_helper.to_array(tensors[f"{layer}.weight_quantized"])
        assert weight.dtype == np.int8
        assert np.abs(weight).max() <= 64, "an eighth bit saturates on processors without VNNI"
        assert tensors[f"{layer}.weight_scale"].dims == [channels]
    assert quantized.stat().st_size < 0.6 * network.stat().st_size


def test_any_batch_and_no_warning(quantized: Path) -> None:
    onnx.checker.check_model(onnx.load(quantized), full_check=True)
    assert has_nothing_to_say(quantized)


def test_layers_that_do_not_survive_stay_in_float(
    images: Path, evaluation: EvaluationSet, fitting: HeldImages, tmp_path: Path
) -> None:
    source = write_network(tmp_path / "fp32.onnx", fitting, outliers=2)
    report, _ = write_int8(source, tmp_path / "int8.onnx", task(source, images, evaluation))
    assert sorted(report.kept_in_float) == ["outlier0", "outlier1"]
    assert report.layers == 5
    assert max(report.held_out_correct.values()) < 0.5 * report.held_out_fp32_correct
    tensors = {t.name: t for t in onnx.load(tmp_path / "int8.onnx").graph.initializer}
    assert tensors["outlier0.weight"].data_type == onnx.TensorProto.FLOAT
    assert "body.weight_quantized" in tensors


@pytest.mark.parametrize("opset", [11, 12])
def test_an_old_opset_is_lifted(
    opset: int, images: Path, evaluation: EvaluationSet, fitting: HeldImages, tmp_path: Path
) -> None:
    source = write_network(tmp_path / "fp32.onnx", fitting, opset=opset)
    report, _ = write_int8(source, tmp_path / "int8.onnx", task(source, images, evaluation))
    assert (report.layers, report.kept_in_float) == (3, [])
    [stated] = onnx.load(source).opset_import
    assert stated.version == opset


def test_training_images_are_never_those_that_judge(
    images: Path, evaluation: EvaluationSet
) -> None:
    calibration, held_out = split(images, evaluation)
    assert (len(calibration), len(held_out)) == (300, 300)
    parts = [{image.tobytes() for image in part.pixels} for part in (calibration, held_out)]
    [judges] = evaluation.batches(300)
    parts.append({image.tobytes() for image in judges})
    assert len(set.union(*parts)) == sum(map(len, parts)) == 900
    again, _ = split(images, evaluation)
    np.testing.assert_array_equal(again.pixels, calibration.pixels)


@pytest.fixture
def folders(evaluation: EvaluationSet, tmp_path: Path) -> Path:
    """Four images in two classes, not split into parts."""
    for number, label in enumerate(("bag", "coat", "bag", "coat")):
        folder = tmp_path / "clothes" / label
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(evaluation.dataset.encoded(number))
    return tmp_path / "clothes"


def test_images_without_a_training_part_are_refused(folders: Path) -> None:
    unsplit = open_images(folders, ["bag", "coat"], TRANSFORM)
    with pytest.raises(ExportError, match=r"never on those that judge it.*train, one folder"):
        split(folders, unsplit)


def test_too_few_training_images_are_refused(folders: Path, tmp_path: Path) -> None:
    root = tmp_path / "split"
    shutil.copytree(folders, root / "train")
    shutil.copytree(folders, root / "test")
    with pytest.raises(ExportError, match=r"at least 200 training images.* holds 4"):
        split(root, open_images(root, ["bag", "coat"], TRANSFORM))


@pytest.mark.parametrize("most", [0, 1, 2, 3, 77])
def test_the_fewest_is_found_in_few_trials(most: int) -> None:
    for wanted in range(most + 1):
        tried = list[int]()

        def suffices(count: int, wanted: int = wanted, tried: list[int] = tried) -> bool:
            tried.append(count)
            return count >= wanted

        assert fewest(most, suffices) == wanted
        assert len(set(tried)) == len(tried) <= 2 + 2 * wanted.bit_length()


def test_nothing_is_tried_beyond_what_is_allowed() -> None:
    tried = list[int]()
    assert fewest(6, lambda count: bool(tried.append(count))) is None
    assert tried == [0, 1, 2, 4, 6]
