"""Parity: measured in the runtime that serves, and refused where it does not hold."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bundle.manifest import ModelFile
from bundle.store import Bundle, sha256
from export.errors import ExportError, ParityError, PrecisionError
from export.parity import (
    Runner,
    compare,
    open_runner,
    require,
    require_accuracy,
)
from export.parity_record import FileParity
from export.precision.cost import told_too_few
from tests.export.images import varied
from tests.support.bundles import SIDE, probabilities, reseal, write_bundle

IMAGES = varied(7, SIDE)
EXPECTED = probabilities(IMAGES)
BATCHES = [IMAGES[:4], IMAGES[4:]]
LABELS = EXPECTED.argmax(axis=1)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.open(write_bundle(tmp_path))


def measured(bundle: Bundle, file: ModelFile | None = None) -> FileParity:
    stated = file or bundle.manifest.files[0]
    runner = open_runner(bundle.path, bundle.manifest, stated, "cpu")
    return compare(stated, runner, runner.answers(BATCHES), EXPECTED, LABELS)


def test_a_true_file_agrees(bundle: Bundle) -> None:
    parity = measured(bundle)
    assert (parity.runtime, parity.device) == ("onnxruntime", "cpu")
    assert 0 <= parity.mean_difference <= parity.largest_difference < 1e-6
    assert parity.top1_agreement == 7
    assert parity.scores is not None
    assert (parity.scores.top1_correct, parity.scores.top5_correct) == (7, 7)
    require(parity)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_they_may_cost_as_much_accuracy_as_is_allowed(bundle: Bundle, precision: str) -> None:
    exact = measured(bundle)
    assert exact.scores is not None
    worse = exact.scores.model_copy(update={"top1_correct": 5})
    parity = exact.model_copy(update={"precision": precision, "scores": worse})
    require_accuracy(parity, exact.scores, 7, most=30)
    with pytest.raises(PrecisionError, match=rf"in onnx.* costs 28\.57 .* Leave {precision} out"):
        require_accuracy(parity, exact.scores, 7, most=28)
    require_accuracy(parity.model_copy(update={"scores": None}), exact.scores, 7, most=0)


def test_of_few_images_it_is_told_that_more_are_needed(bundle: Bundle) -> None:
    exact = measured(bundle)
    assert exact.scores is not None
    worse = exact.scores.model_copy(update={"top1_correct": 6})
    parity = exact.model_copy(update={"precision": "int8", "scores": worse})
    few = r"One of 7 images is 14 % already: judge by more, at least 200, or allow more$"
    with pytest.raises(PrecisionError, match=few):
        require_accuracy(parity, exact.scores, 7, most=0.5)
    for most, drop in ((0, 100 / 7), (15, 100 / 7), (0.5, 200 / 7)):
        assert told_too_few(7, most, drop) == ""


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_of_photos_without_classes_the_first_class_has_to_stay(
    bundle: Bundle, precision: str
) -> None:
    update = {"precision": precision, "scores": None, "top1_agreement": 6}
    parity = measured(bundle).model_copy(update=update)
    require_accuracy(parity, None, 7, most=15)
    with pytest.raises(PrecisionError, match=r"changes the first class of 14\.29 % of the images"):
        require_accuracy(parity, None, 7, most=14)


def test_a_slightly_wrong_weight_is_refused(bundle: Bundle) -> None:
    path = bundle.path / "model.onnx"
    model = onnx.load(path)
    [weights] = [tensor for tensor in model.graph.initializer if tensor.name == "weights"]
    nudged = numpy_helper.to_array(weights) * np.float32(1.001)
    weights.CopyFrom(numpy_helper.from_array(nudged, "weights"))
    onnx.save(model, path)
    reseal(bundle.path)
    parity = measured(Bundle.open(bundle.path))
    assert parity.largest_difference > 1e-5
    with pytest.raises(ParityError, match=r"model\.onnx in onnxruntime: .* fp32 allows 1e-05"):
        require(parity)


def test_differences_are_counted_over_all_images(bundle: Bundle) -> None:
    wrong = EXPECTED.copy()
    wrong[6] = np.roll(wrong[6], 1)
    file = bundle.manifest.files[0]
    runner = Runner(
        lambda pixels: wrong[-len(pixels) :] if len(pixels) == 3 else wrong[:4], "x", "y"
    )
    parity = compare(file, runner, runner.answers(BATCHES), EXPECTED, None)
    assert parity.largest_difference == pytest.approx(np.abs(wrong - EXPECTED).max())
    assert parity.mean_difference == pytest.approx(np.abs(wrong - EXPECTED).mean())
    assert (parity.top1_agreement, parity.scores) == (6, None)


def test_answers_that_are_no_numbers_are_refused(bundle: Bundle) -> None:
    nothing = Runner(lambda pixels: np.full((len(pixels), 6), np.nan, np.float32), "x", "y")
    with pytest.raises(ParityError, match="perhaps not finite"):
        compare(bundle.manifest.files[0], nothing, nothing.answers(BATCHES), EXPECTED, None)


def test_a_device_that_is_not_there_is_named(bundle: Bundle) -> None:
    file = bundle.manifest.files[0]
    with pytest.raises(
        ExportError, match=r"model\.onnx cannot be proved on cuda:0: .*onnxruntime-gpu"
    ):
        open_runner(bundle.path, bundle.manifest, file, "cuda:0")


def test_a_file_that_is_no_model_is_named(bundle: Bundle) -> None:
    (bundle.path / "model.onnx").write_bytes(b"no model")
    file = bundle.manifest.files[0].model_copy(
        update={"sha256": sha256(bundle.path / "model.onnx")}
    )
    with pytest.raises(ExportError, match=r"model\.onnx cannot be proved on cpu"):
        measured(bundle, file)
