"""How far a file may be from what was recorded when it is measured again."""

from pathlib import Path

import pytest

from bundle.store import Bundle
from export.audit.verification import Remeasurement
from export.evaluation_set import Scores, open_images
from export.parity import open_runner
from export.parity_record import FileParity, read_parity

FP32, INT8 = "model_fp32.onnx", "model_int8.onnx"


def again(exported: Path, animals: Path, images: int = 12) -> Remeasurement:
    """A remeasurement after the fp32 file, of a record that claims that many images."""
    bundle = Bundle.open(exported)
    record = read_parity(exported).model_copy(update={"images": images})
    manifest = bundle.manifest
    opened = open_images(animals, manifest.labels, manifest.transform)
    remeasurement = Remeasurement(opened, record)
    file = bundle.file("onnx", "fp32")
    remeasurement.measure(file, open_runner(bundle.path, manifest, file, "cpu"))
    return remeasurement


def recorded(exported: Path, path: str) -> FileParity:
    return next(file for file in read_parity(exported).files if file.path == path)


def with_more_right(file: FileParity, more: int) -> FileParity:
    assert file.scores is not None
    counted = Scores(
        top1_correct=file.scores.top1_correct + more,
        top5_correct=file.scores.top5_correct,
        calibration_error=0.0,
        class_correct=[file.scores.top1_correct + more, 0, 0],
    )
    return file.model_copy(update={"scores": counted})


@pytest.mark.parametrize(
    ("path", "more", "hint"),
    [
        (FP32, 0, None),
        (FP32, 1, "fp32 may differ by 0"),
        (INT8, 5, None),
        (INT8, 6, "int8 may differ by 5"),
    ],
)
def test_only_reduced_precisions_may_count_otherwise(
    exported: Path, animals: Path, path: str, more: int, hint: str | None
) -> None:
    measured = with_more_right(recorded(exported, path), more)
    problems = list(again(exported, animals, images=1000).problems(measured))
    assert len(problems) == (hint is not None)
    assert all(hint in problem for problem in problems if hint)


def test_a_difference_beyond_what_was_recorded_is_told(exported: Path, animals: Path) -> None:
    file = recorded(exported, INT8)
    allowed = file.tolerance + 1e-5
    remeasurement = again(exported, animals)
    at_the_limit = file.model_copy(update={"largest_difference": allowed})
    assert list(remeasurement.problems(at_the_limit)) == []
    beyond = file.model_copy(update={"largest_difference": allowed * 1.01})
    [problem] = remeasurement.problems(beyond)
    assert f"{INT8} in openvino: a probability differs by" in problem
    assert f"the bundle allows {allowed:.3g}" in problem
