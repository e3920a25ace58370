"""How far a file may be from what was recorded when it is measured again."""

from pathlib import Path

import numpy as np
import pytest

from bundle.store import Bundle
from export.audit.exceedance import most_beyond
from export.audit.verification import Measured, Remeasurement
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


def as_measured(file: FileParity, beyond: int = 0, by: float = 1.01) -> Measured:
    """What is measured of 12 images of which so many differ by more than the record allows."""
    far = (file.tolerance + 1e-5) * by
    differences = np.array([far] * beyond + [0.0] * (12 - beyond))
    return Measured(file.model_copy(update={"largest_difference": differences.max()}), differences)


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
    problems = list(again(exported, animals, images=1000).problems(as_measured(measured)))
    assert len(problems) == (hint is not None)
    assert all(hint in problem for problem in problems if hint)


def test_a_difference_beyond_what_was_recorded_is_told(exported: Path, animals: Path) -> None:
    file = recorded(exported, INT8)
    remeasurement = again(exported, animals)
    assert remeasurement.is_recorded_set
    assert list(remeasurement.problems(as_measured(file, 12, by=1.0))) == []
    [problem] = remeasurement.problems(as_measured(file, 1))
    assert f"{INT8} in openvino: a probability differs by" in problem
    assert f"the bundle allows {file.tolerance + 1e-5:.3g}, which 1 of 12 images are b" in problem


def test_other_images_may_be_further_as_far_as_chance_goes(exported: Path, animals: Path) -> None:
    file = recorded(exported, INT8)
    remeasurement = again(exported, animals)
    remeasurement.is_recorded_set = False
    assert file.tolerance_images == 12 + 10 + 100
    most = most_beyond(122, 12)
    assert 1 < most < 12
    assert list(remeasurement.problems(as_measured(file, most))) == []
    [problem] = remeasurement.problems(as_measured(file, most + 1))
    assert f"{most + 1} of 12 images are beyond, and at most {most} may be" in problem
    float32 = recorded(exported, FP32)
    [problem] = remeasurement.problems(as_measured(float32, 1, by=3))
    assert "at most 0 may be" in problem
