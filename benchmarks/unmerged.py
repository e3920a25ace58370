"""Merged groups of convolutions as they were, to measure what merging does on a device."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from cli.program import UsageError
from export.formats.grouped import MERGED, WIDTH
from export.formats.onnx_model import save

COUNTS = tuple(WIDTH // channels for channels in sorted(MERGED))


def write_unmerged(source: Path, target: Path) -> Path:
    """Write a copy of an ONNX file in which no group is merged with others; return its path.

    Raises:
        UsageError: none is.
    """
    model = onnx.load(source)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    split = 0
    for node in model.graph.node:
        group = next((a for a in node.attribute if a.name == "group"), None)
        if node.op_type != "Conv" or group is None or node.input[1] not in weights:
            continue
        tensor = weights[node.input[1]]
        kernels = numpy_helper.to_array(tensor)
        if kernels.shape[:2] == (group.i * WIDTH, WIDTH) and (count := merged_groups(kernels)) > 1:
            tensor.CopyFrom(numpy_helper.from_array(separated(kernels, count), tensor.name))
            group.i *= count
            split += 1
    if not split:
        raise UsageError(f"{source}: no group of its convolutions is merged with others")
    save(model, target)
    return target


def merged_groups(kernels: NDArray[np.floating]) -> int:
    """Return how many groups (out, 16, ...) kernels were made of: beside them are only zeros."""
    for count in COUNTS:
        rows = np.arange(len(kernels)) * count // WIDTH % count
        others = np.arange(count) != rows[:, None]
        if not _split(kernels, count)[others].any():
            return count
    return 1


def separated(kernels: NDArray[np.floating], count: int) -> NDArray[np.floating]:
    """Return (out, 16 / count, ...) kernels of the groups that were merged."""
    rows = np.arange(len(kernels))
    place = rows * count // WIDTH % count
    return np.ascontiguousarray(_split(kernels, count)[rows, place])


def _split(kernels: NDArray[np.floating], count: int) -> NDArray[np.floating]:
    out, channels, *window = kernels.shape
    return kernels.reshape(out, count, channels // count, *window)
