"""The bundles of few images are verified on others, and what is beyond is counted."""

import json
from pathlib import Path

import pytest

from benchmarks.tolerance import Tolerance
from cli.program import UsageError
from tests.export.precision.conftest import write_part

pytestmark = pytest.mark.slow


def test_every_set_of_other_images_is_counted(tmp_path: Path) -> None:
    images = write_part(tmp_path, train=range(400), test=range(300))
    few = {"images": images, "exports": 1, "verified_images": 100, "output": tmp_path}
    Tolerance.model_validate(few).run()
    record = json.loads((tmp_path / "tolerance-400-100.json").read_text())
    assert record["refused"] == []
    assert [(run["runtime"], run["images"]) for run in record["verified"]] == [
        ("openvino cpu", 100),
        ("onnxruntime cpu", 100),
    ] * 2
    for run in record["verified"]:
        assert run["tolerance_images"] == 310
        assert run["beyond"] <= run["beyond_measured"] <= 100
        assert run["problems"] == []


def test_more_exports_than_images_are_refused(tmp_path: Path) -> None:
    images = write_part(tmp_path, train=range(300), test=range(10))
    with pytest.raises(UsageError, match="has only 300 train images"):
        Tolerance(images=images, output=tmp_path).run()
