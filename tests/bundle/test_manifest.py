"""The manifest: what it refuses, and that nothing is lost on the way through JSON."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bundle.manifest import MANIFEST, Accuracy, Manifest

SHA = "0" * 64


@pytest.fixture
def stated(bundle: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((bundle / MANIFEST).read_text())
    return manifest


def test_json_loses_nothing(bundle: Path) -> None:
    manifest = Manifest.model_validate_json((bundle / MANIFEST).read_bytes())
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


def test_only_an_unusual_task_is_stated(stated: dict[str, Any]) -> None:
    assert "task" not in stated
    assert Manifest.model_validate(stated).task == "multiclass"
    multilabel = Manifest.model_validate(stated | {"task": "multilabel"})
    assert json.loads(multilabel.model_dump_json()) == stated | {"task": "multilabel"}


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../model.onnx", "a/../../b", "./model.onnx", "a//b", "a\\b", "", "."]
)
def test_a_path_may_not_leave_the_bundle(stated: dict[str, Any], path: str) -> None:
    stated["files"][0]["path"] = path
    with pytest.raises(ValidationError, match="not a plain relative path inside the bundle"):
        Manifest.model_validate(stated)


@pytest.mark.parametrize(
    ("field", "value", "hint"),
    [
        ("schema_version", 2, "Input should be 1"),
        ("schema_version", "1", "Input should be 1"),
        ("name", "../up", "pattern"),
        ("version", "", "pattern"),
        ("checkpoint_sha256", "abc", "pattern"),
        ("labels", [], "at least 1"),
        ("labels", ["ant", "bee"], "output shape is"),
        ("files", [], "at least 1"),
        ("normalization", {"mean": [1, 2, 3], "std": [1, 0, 1]}, "greater than 0"),
        ("normalization", {"mean": [1, 2], "std": [1, 1, 1]}, "mean"),
        ("normalization", {"mean": [1, 2, float("nan")], "std": [1, 1, 1]}, "finite"),
        ("normalization", {"mean": [1, 2, 3], "std": [1, 1, float("inf")]}, "finite"),
        ("task", "regression", "multilabel"),
        ("input", {"name": "x", "dtype": "uint8", "shape": ["batch", 9, 9, 3]}, "input shape is"),
        ("input", {"name": "x", "dtype": "int4", "shape": ["batch", 16, 16, 3]}, "uint8"),
        ("colour", "red", "Extra inputs are not permitted"),
    ],
)
def test_what_makes_no_sense_is_refused(
    stated: dict[str, Any], field: str, value: object, hint: str
) -> None:
    with pytest.raises(ValidationError, match=hint):
        Manifest.model_validate(stated | {field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", "pickle"),
        ("precision", "fp8"),
        ("buckets", []),
        ("buckets", [0, 1]),
        ("buckets", [1, 4, 2]),
        ("buckets", [1, 2, 2]),
        ("tolerance", -1e-5),
        ("tolerance", 1.1e-5),
        ("tolerance", 1.0),
        ("tolerance", float("inf")),
        ("tolerance", float("nan")),
        ("sha256", "zz"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(
    stated: dict[str, Any], field: str, value: object
) -> None:
    stated["files"][0][field] = value
    with pytest.raises(ValidationError, match=field):
        Manifest.model_validate(stated)


def test_a_manifest_that_states_no_schema_is_refused(stated: dict[str, Any]) -> None:
    del stated["schema_version"]
    with pytest.raises(ValidationError, match=r"schema_version\n  Field required"):
        Manifest.model_validate(stated)


def test_two_files_of_one_kind_are_refused(stated: dict[str, Any]) -> None:
    stated["files"] *= 2
    with pytest.raises(ValidationError, match="number of distinct files"):
        Manifest.model_validate(stated)


def test_two_files_of_one_path_are_refused(stated: dict[str, Any]) -> None:
    stated["files"].append(stated["files"][0] | {"precision": "fp16"})
    with pytest.raises(ValidationError, match="number of distinct files"):
        Manifest.model_validate(stated)


def test_bf16_is_the_fp32_file_under_another_title(stated: dict[str, Any]) -> None:
    fp32 = stated["files"][0]
    stated["files"].insert(0, fp32 | {"precision": "bf16", "tolerance": 0.1, "buckets": [1]})
    bf16, fp32 = Manifest.model_validate(stated).files
    assert (bf16.title, fp32.title) == ("model.onnx (bf16)", "model.onnx")
    assert (bf16.stored_as, fp32.stored_as) == ("fp32", "fp32")


@pytest.mark.parametrize(
    "other",
    [
        {"path": "other.onnx"},
        {"sha256": SHA},
        {"format": "mindir"},
        {"external_data": {"path": "model.onnx.data", "sha256": SHA}},
    ],
)
def test_bf16_of_another_file_is_refused(stated: dict[str, Any], other: dict[str, Any]) -> None:
    stated["files"].append(stated["files"][0] | {"precision": "bf16"} | other)
    with pytest.raises(ValidationError, match=r"\(bf16\) is no fp32 ONNX file of this bundle"):
        Manifest.model_validate(stated)


@pytest.mark.parametrize("stored", [{"precision": "fp16"}, {"format": "mindir"}])
def test_bf16_without_fp32_is_refused(stated: dict[str, Any], stored: dict[str, Any]) -> None:
    bf16 = stated["files"][0] | {"precision": "bf16"}
    stated["files"] = [stated["files"][0] | stored, bf16]
    with pytest.raises(ValidationError, match=r"\(bf16\) is no fp32 ONNX file of this bundle"):
        Manifest.model_validate(stated)


def test_accuracy_is_a_share_of_the_images() -> None:
    counted = Accuracy(dataset="eight", images=8, top1_correct=6, top5_correct=8)
    assert counted.top1 == 0.75
