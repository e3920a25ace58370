"""What a foreign model's outputs are, and how they become probabilities.

Whether a softmax or a sigmoid was applied already is asked for, not guessed: the answers to a few
images can refute it, but never prove it.
"""

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from bundle.manifest import Task
from export.config import OutputKind
from export.errors import ExportError
from export.original import OUTPUT

SUM_TOLERANCE = 1e-2
# float16 rounds to 11 bits.
RANGE_TOLERANCE = 1e-3
BINARY: tuple[OutputKind, ...] = ("binary", "binary-logits")
TWO_LABELS = "two labels, the negative one first"
MULTILABEL: tuple[OutputKind, ...] = ("multilabel", "multilabel-logits")


def task(kind: OutputKind) -> Task:
    """Return whether exactly one class is right, or each is right or wrong by itself."""
    return "multilabel" if kind in MULTILABEL else "multiclass"


def check(answers: NDArray[np.float64], labels: list[str], kind: OutputKind) -> None:
    """Compare what the file gives, (n, columns), with what the flags say about it.

    Raises:
        ExportError: the answers are of another kind, or not as many as the labels.
    """
    if not np.isfinite(answers).all():
        image = int(np.argwhere(~np.isfinite(answers))[0][0])
        raise ExportError(
            f"the model answers synthetic image {image} with NaN or infinity; a bundle is made "
            f"only of a model that answers every image with numbers"
        )
    what, kinds = _found(answers)
    if kind not in kinds:
        sums = sorted({f"{total:.3g}" for total in answers.sum(axis=1)}, key=float)
        total = sums[0] if len(sums) == 1 else f"between {sums[0]} and {sums[-1]}"
        raise ExportError(
            f"--output-kind {kind}: the model's answers lie between {answers.min():.3g} and "
            f"{answers.max():.3g} and sum to {total}, so they are {what}: give "
            f"--output-kind {' or '.join(kinds)}"
        )
    if kind in BINARY and len(labels) != 2:
        raise ExportError(f"--output-kind {kind} needs {TWO_LABELS}; --labels names {len(labels)}")
    if kind not in BINARY and answers.shape[1] != len(labels):
        raise ExportError(f"the model has {answers.shape[1]} classes, --labels names {len(labels)}")


def _found(answers: NDArray[np.float64]) -> tuple[str, tuple[OutputKind, ...]]:
    """Return what finite answers (n, columns) look like, and the kinds that they may be."""
    bounded = answers.min() >= 0 and answers.max() <= 1 + RANGE_TOLERANCE
    if answers.shape[1] == 1:
        what = "probabilities (a sigmoid's)" if bounded else "logits"
        kinds: tuple[OutputKind, ...] = ("binary", "multilabel")
        return (
            f"{what} of the second of {TWO_LABELS}, or of the only one",
            kinds if bounded else ("binary-logits", "multilabel-logits"),
        )
    if bounded and np.abs(answers.sum(axis=1) - 1).max() <= SUM_TOLERANCE:
        return "probabilities", ("probabilities",)
    if bounded:
        return "probabilities of each class by itself (sigmoids)", ("multilabel",)
    return "logits", ("logits", "multilabel-logits")


def probabilities(answers: NDArray[np.float64], kind: OutputKind) -> NDArray[np.float64]:
    """Return (n, classes) for what the file gave, (n, columns); numpy's half of `nodes`."""
    if kind in ("logits", "binary-logits"):
        logits = answers * (0.0, 1.0) if kind == "binary-logits" else answers
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    if kind == "multilabel-logits":
        return 0.5 * (1 + np.tanh(0.5 * answers))  # the sigmoid, without an overflow
    return np.abs(answers - (1.0, 0.0)) if kind == "binary" else answers


def nodes(source: str, kind: OutputKind) -> tuple[list[NodeProto], list[TensorProto]]:
    """Return what turns the value `source`, float32 (batch, columns), into probabilities.

    Also the constants for that. None of the operators is one that int8 would round.
    """
    if kind == "binary":  # p -> 1 - p, p
        nodes = [
            helper.make_node("Sub", [source, "places"], ["signed"]),
            helper.make_node("Abs", ["signed"], [OUTPUT]),
        ]
        return nodes, [_constant("places", 1.0, 0.0)]
    if kind == "binary-logits":  # the sigmoid of x is the second place of a softmax of 0 and x
        nodes = [
            helper.make_node("Mul", [source, "places"], ["logits"]),
            helper.make_node("Softmax", ["logits"], [OUTPUT], axis=1),
        ]
        return nodes, [_constant("places", 0.0, 1.0)]
    if kind == "logits":
        return [helper.make_node("Softmax", [source], [OUTPUT], axis=1)], []
    last = "Sigmoid" if kind == "multilabel-logits" else "Identity"
    return [helper.make_node(last, [source], [OUTPUT])], []


def _constant(name: str, *values: float) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.float32), name)
