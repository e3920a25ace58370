"""`python -m export diff`: silent where two bundles answer alike, exact where they do not."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bundle.manifest import Accuracy, Normalization
from bundle.store import Bundle
from export.__main__ import main
from export.audit.difference import Difference, differences
from images.transform import ShorterSide
from tests.support.bundles import LABELS, reseal, write_bundle, write_manifest


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "a")


@pytest.fixture
def b(tmp_path: Path) -> Path:
    """The same model under another name."""
    return write_bundle(tmp_path / "b", name="other", version="7")


def found(a: Path, b: Path) -> list[Difference]:
    return list(differences(Bundle.open(a), Bundle.open(b)))


def edit(path: Path, **changes: object) -> None:
    write_manifest(path, Bundle.open(path).manifest.model_copy(update=changes))


def change_weights(path: Path) -> None:
    """Add 0.5 to one weight, add a tensor, and make another one smaller."""
    model = onnx.load(path / "model.onnx")
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    changed = numpy_helper.to_array(tensors["weights"]).copy()
    changed[1, 2] += 0.5
    tensors["weights"].CopyFrom(numpy_helper.from_array(changed, "weights"))
    tensors["std"].CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "std"))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.int64), "more"))
    onnx.save(model, path / "model.onnx")
    reseal(path)


def test_names_and_versions_make_no_difference(a: Path, b: Path) -> None:
    assert found(a, b) == []


def test_every_field_that_differs_is_named(a: Path, b: Path) -> None:
    edit(
        b,
        labels=["bee", "ant", *LABELS[2:]],
        normalization=Normalization(mean=(120.0, 110.0, 101.0), std=(60.0, 50.0, 40.0)),
        architecture="other",
        accuracy=Accuracy(dataset="six", images=6, top1_correct=5, top5_correct=6),
    )
    assert found(a, b) == [
        ("label 0", "ant", "bee"),
        ("label 1", "bee", "ant"),
        ("architecture", "mean_and_matrix", "other"),
        ("normalization.mean", "(120.0, 110.0, 100.0)", "(120.0, 110.0, 101.0)"),
        ("accuracy.dataset", "-", "six"),
        ("accuracy.images", "-", "6"),
        ("accuracy.top1_correct", "-", "5"),
        ("accuracy.top5_correct", "-", "6"),
    ]


def test_another_resize_is_named(a: Path, b: Path) -> None:
    other = Bundle.open(b).manifest.transform.model_copy(update={"resize": ShorterSide(pixels=20)})
    edit(b, transform=other)
    assert ("transform.resize.kind", "stretch", "shorter_side") in found(a, b)


def test_weights_are_compared_tensor_by_tensor(a: Path, b: Path) -> None:
    change_weights(b)
    file, *tensors = found(a, b)
    assert file.what == "onnx fp32"
    assert file.a == Bundle.open(a).manifest.files[0].sha256[:12]
    assert tensors == [
        ("onnx fp32 std", "float [3]", "float [1]"),
        ("onnx fp32 weights", "float [3, 6]", "differs by at most 0.5"),
        ("onnx fp32 more", "-", "int64 [2]"),
    ]


def test_a_file_that_only_one_of_them_holds_is_named(a: Path, b: Path) -> None:
    file = Bundle.open(b).manifest.files[0].model_copy(update={"precision": "fp16"})
    edit(b, files=[file])
    assert found(a, b) == [
        ("onnx fp16", "absent", "present"),
        ("onnx fp32", "present", "absent"),
    ]


def test_the_exit_code_is_that_of_diff(
    a: Path, b: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", str(a), str(b)]) == 0
    assert capsys.readouterr().out == ""
    change_weights(b)
    assert main(["diff", str(a), str(b)]) == 1
    assert "differs by at most 0.5" in capsys.readouterr().out
    (b / "model.onnx").write_bytes(b"")
    assert main(["diff", str(a), str(b)]) == 2
    assert "error: " in capsys.readouterr().err
