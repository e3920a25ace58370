"""The weights of two ONNX files, tensor by tensor."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

SAME = ("", "")


def compare_tensors(a: Path, b: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the name of every weight that differs, and what to say of either."""
    ours, theirs = _weights(a), _weights(b)
    for name in ours | theirs:
        told = _compare(ours.get(name), theirs.get(name))
        if told != SAME:
            yield name, told


def _weights(path: Path) -> dict[str, TensorProto]:
    return {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}


def _compare(a: TensorProto | None, b: TensorProto | None) -> tuple[str, str]:
    if a is None or b is None:
        return _form(a), _form(b)
    if (a.data_type, a.dims) != (b.data_type, b.dims):
        return _form(a), _form(b)
    ours, theirs = (numpy_helper.to_array(tensor).astype(np.float64) for tensor in (a, b))
    if np.array_equal(ours, theirs):
        return SAME
    return _form(a), f"differs by at most {np.abs(ours - theirs).max():.3g}"


def _form(tensor: TensorProto | None) -> str:
    if tensor is None:
        return "-"
    return f"{TensorProto.DataType.Name(tensor.data_type).lower()} {list(tensor.dims)}"
