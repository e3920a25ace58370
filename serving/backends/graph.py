"""Checks of the graph that a runtime found in a model file against what the manifest states."""

from collections.abc import Sequence
from typing import NamedTuple

from bundle.manifest import Tensor
from serving.backends.backend import Target
from serving.errors import StartupError


class Found(NamedTuple):
    """An input or output: its name, its numpy dtype or the runtime's word for another, its batch.

    The batch is the size of the first axis, or None if every size will do.
    """

    name: str
    dtype: str
    batch: int | None


def check_graph(target: Target, inputs: Sequence[Found], outputs: Sequence[Found]) -> None:
    """Raise `StartupError` unless a graph takes and gives what is stated, in every bucket."""
    _check_tensor(target, inputs, target.manifest.input)
    _check_batch(target, inputs[0].batch)
    _check_tensor(target, outputs, target.manifest.output)


def _check_tensor(target: Target, found: Sequence[Found], stated: Tensor) -> None:
    if [(tensor.name, tensor.dtype) for tensor in found] != [(stated.name, stated.dtype)]:
        held = ", ".join(f"{tensor.name}: {tensor.dtype}" for tensor in found) or "none"
        raise StartupError(
            f"{target.path}: the manifest states {stated.name}: {stated.dtype}, "
            f"but the graph has {held}"
        )


def _check_batch(target: Target, batch: int | None) -> None:
    if batch is not None and [*target.buckets] != [batch]:
        raise StartupError(
            f"{target.path} runs batches of {batch} and no others, so buckets must be {batch} "
            f"and not {', '.join(map(str, target.buckets))}: leave --buckets out"
        )
