"""What a foreign model's outputs are called, and what its bundle makes of them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from bundle.golden import prove_pixels, prove_probabilities
from bundle.manifest import MANIFEST
from export.__main__ import main
from export.config import OutputKind
from export.errors import ExportError
from export.foreign import outputs
from export.parity import open_runner
from export.parity_record import read_parity
from images.transform import Pixels
from serving.backends.ort.library import onnxruntime
from tests.export.foreign import models
from tests.export.foreign.models import CLASSES
from tests.export.foreign.test_from_onnx import COLOURED, Wrapping

Answers = NDArray[np.float64]


def sigmoid(logits: Answers) -> Answers:
    return np.asarray(1 / (1 + np.exp(-logits)))


def both(positive: Answers) -> Answers:
    return np.hstack([1 - positive, positive])


def raw_answers(path: Path, pixels: Pixels) -> Answers:
    """Run the file as it came."""
    normal = (pixels - np.array(COLOURED["mean"])) / np.array(COLOURED["std"])
    feed = {"images": normal.transpose(0, 3, 1, 2).astype(np.float32)}
    [answers] = onnxruntime.InferenceSession(path).run(None, feed)
    return np.asarray(answers, np.float64)


def wrapping(folder: Path, activation: str | None, columns: int, labels: int) -> Wrapping:
    made = Wrapping(folder, models.activated(activation, columns), COLOURED)
    (folder / "labels.txt").write_text("".join(f"label {i}\n" for i in range(labels)))
    return made


@pytest.mark.parametrize(
    ("kind", "activation", "columns", "labels", "expected", "task"),
    [
        ("binary", "Sigmoid", 1, 2, both, "multiclass"),
        ("binary-logits", None, 1, 2, lambda x: both(sigmoid(x)), "multiclass"),
        ("multilabel", "Sigmoid", CLASSES, CLASSES, lambda p: p, "multilabel"),
        ("multilabel-logits", None, CLASSES, CLASSES, sigmoid, "multilabel"),
        ("multilabel", "Sigmoid", 1, 1, lambda p: p, "multilabel"),
    ],
)
def test_a_bundle_gives_the_probabilities_that_its_kind_says(
    kind: str,
    activation: str | None,
    columns: int,
    labels: int,
    expected: object,
    task: str,
    tmp_path: Path,
) -> None:
    made = wrapping(tmp_path, activation, columns, labels)
    assert made.run(kind, None, "--precision", "fp32,fp16") == 0
    assert callable(expected)
    assert made.bundle.manifest.task == task
    golden, pixels = prove_pixels(made.bundle)
    wanted = expected(raw_answers(made.model, pixels))
    np.testing.assert_allclose(golden.probabilities(), wanted, atol=1e-6)
    for file in made.bundle.manifest.files:
        runner = open_runner(made.bundle.path, made.bundle.manifest, file, "cpu")
        prove_probabilities(made.bundle, file, golden, pixels, runner.predict, runner.runtime)


def test_other_tasks_than_the_usual_are_stated(tmp_path: Path) -> None:
    made = wrapping(tmp_path, "Sigmoid", 1, 2)
    assert made.run("binary") == 0
    assert '"task"' not in (made.bundle.path / MANIFEST).read_text()
    assert made.run("multilabel", None, "--overwrite") == 1  # it has two labels
    (tmp_path / "labels.txt").write_text("cat\n")
    assert made.run("multilabel", None, "--overwrite") == 0
    assert '"task": "multilabel"' in (made.bundle.path / MANIFEST).read_text()
    written = onnx.load(made.bundle.path / "model_fp32.onnx")
    assert {"bundle.task": "multilabel"}.items() <= {
        entry.key: entry.value for entry in written.metadata_props
    }.items()


@pytest.mark.parametrize(
    ("activation", "columns", "kind", "hint"),
    [
        ("Sigmoid", 1, "logits", "of the second of two labels, the negative one first, or of the"),
        ("Sigmoid", 1, "probabilities", "give --output-kind binary or multilabel"),
        ("Sigmoid", 1, "binary-logits", "are probabilities (a sigmoid's) of the second"),
        (None, 1, "binary", "give --output-kind binary-logits or multilabel-logits"),
        ("Sigmoid", 2, "binary", "of each class by itself (sigmoids): give --output-kind multilab"),
        ("Sigmoid", CLASSES, "logits", "of each class by itself (sigmoids): give --output-kind"),
        ("Sigmoid", CLASSES, "probabilities", "give --output-kind multilabel"),
        ("Softmax", CLASSES, "multilabel", "give --output-kind probabilities"),
        (None, CLASSES, "multilabel", "are logits: give --output-kind logits or multilabel-logits"),
        ("Sigmoid", 1, "binary", "needs two labels, the negative one first; --labels names 4"),
    ],
)
def test_another_kind_is_refused_and_the_right_ones_named(
    activation: str | None,
    columns: int,
    kind: str,
    hint: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert wrapping(tmp_path, activation, columns, CLASSES).run(kind) == 1
    assert hint in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "foreign").exists()


@pytest.mark.parametrize("kind", ["binary-logits", "multilabel-logits", "logits"])
def test_large_logits_do_not_overflow(kind: OutputKind) -> None:
    answers = np.array([[1000.0], [-1000.0], [0.0]])
    given = outputs.probabilities(answers if kind != "logits" else both(answers), kind)
    assert np.isfinite(given).all()
    np.testing.assert_allclose(given[:, -1], [1, 0, 0.5], atol=0.51)


def test_answers_that_are_no_numbers_are_of_no_kind() -> None:
    answers = np.array([[0.1, 0.9], [np.nan, 0.5]])
    with pytest.raises(ExportError, match="synthetic image 1 with NaN or infinity"):
        outputs.check(answers, ["a", "b"], "logits")


def test_of_a_multilabel_model_no_accuracy_is_stated(
    animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder per class says of an image only one of its classes."""
    made = wrapping(tmp_path, "Sigmoid", 3, 3)
    (tmp_path / "labels.txt").write_text("ant\nbee\ncat\n")
    assert made.run("multilabel", None, "--images", str(animals)) == 0
    assert made.bundle.manifest.accuracy is None
    parity = read_parity(made.bundle.path)
    assert (parity.images, parity.checkpoint, parity.class_images) == (12, None, None)
    assert main(["verify", str(made.bundle.path), "--images", str(animals)]) == 0
    assert "the recorded set" in capsys.readouterr().out
    assert main(["inspect", str(made.bundle.path)]) == 0
    assert "multilabel" in capsys.readouterr().out
    flags = "--images", str(animals), "--precision", "int8", "--overwrite"
    assert made.run("multilabel", None, *flags) == 1
    assert "top-1 accuracy, which a multilabel model does not have" in capsys.readouterr().err
