"""A model file says what it was exported with, whatever the manifest beside it says."""

from pathlib import Path

import pytest

from bundle.manifest import Manifest, ModelFile, Normalization
from bundle.stamp import check_stamp, stamp
from bundle.store import Bundle, BundleError

PATH = Path("model.onnx")


@pytest.fixture
def manifest(bundle: Path) -> Manifest:
    return Bundle.open(bundle).manifest


@pytest.fixture
def file(manifest: Manifest) -> ModelFile:
    return manifest.files[0]


def test_its_own_manifest_fits(manifest: Manifest, file: ModelFile) -> None:
    foreign = {"producer": "somebody"}
    check_stamp(PATH, manifest, file, stamp(manifest, "fp32") | foreign)


def test_bf16_is_stored_in_fp32(manifest: Manifest, file: ModelFile) -> None:
    bf16 = file.model_copy(update={"precision": "bf16"})
    check_stamp(PATH, manifest, bf16, stamp(manifest, "fp32"))
    with pytest.raises(BundleError, match="states fp32, but the file was written in fp16"):
        check_stamp(PATH, manifest, bf16, stamp(manifest, "fp16"))


def test_another_precision_is_named(manifest: Manifest, file: ModelFile) -> None:
    with pytest.raises(BundleError, match="states fp32, but the file was written in int8"):
        check_stamp(PATH, manifest, file, stamp(manifest, "int8"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("labels", ["bee", "ant", "cat", "dog", "elk", "fox"]),
        ("normalization", Normalization(mean=(120.0, 110.0, 100.5), std=(60.0, 50.0, 40.0))),
        ("task", "multilabel"),
    ],
)
def test_what_disagrees_is_named(
    manifest: Manifest, file: ModelFile, field: str, value: object
) -> None:
    edited = manifest.model_copy(update={field: value})
    with pytest.raises(BundleError, match=f"the manifest's {field} is not the one that the file"):
        check_stamp(PATH, edited, file, stamp(manifest, "fp32"))


def test_a_multilabel_file_passes_only_as_such(manifest: Manifest, file: ModelFile) -> None:
    multilabel = manifest.model_copy(update={"task": "multilabel"})
    found = stamp(multilabel, "fp32")
    check_stamp(PATH, multilabel, file, found)
    with pytest.raises(BundleError, match="the manifest's task is not the one that the file"):
        check_stamp(PATH, manifest, file, found)


def test_of_the_usual_task_a_file_says_nothing(manifest: Manifest) -> None:
    """So that it has the bytes that it had before there was another."""
    names = ("precision", "labels", "transform", "normalization")
    assert list(stamp(manifest, "fp32")) == [f"bundle.{name}" for name in names]


def test_a_file_without_a_stamp_is_refused(manifest: Manifest, file: ModelFile) -> None:
    with pytest.raises(BundleError, match=r"metadata lacks bundle\.labels, bundle\.normalization"):
        check_stamp(PATH, manifest, file, {})
