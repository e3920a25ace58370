"""A float16 file as accelerators compute it: what a node gives is rounded to float16.

ONNX Runtime computes such a file on a CPU in float32, and of two nodes that follow one another the
second takes what the first gave before it was rounded: only the weights are of float16. A GPU keeps
every value between two kernels in 16 bits, so it is further from the original.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper, shape_inference

from export.evaluation_set import Probabilities
from export.formats.onnx_model import save, without_weights
from export.precision.fp16 import change_type
from export.precision.int8 import answers
from images.transform import Pixels

# What these give, they took: it is rounded already.
SELECTING = frozenset(
    {"Concat", "Flatten", "Identity", "MaxPool", "Relu", "Reshape", "Slice", "Transpose"}
)


def rounded_answers(
    half: Path, batches: Iterable[Pixels], batch: int, *, optimized: bool = True
) -> Probabilities:
    """Return what a float16 file answers if all is rounded; float32 (n, classes), see `answers`.

    Answers are not finite if a value leaves the range of float16.
    """
    with TemporaryDirectory(prefix="export-") as scratch:
        path = Path(scratch) / "rounded.onnx"
        write_rounded(half, path)
        return answers(path, batches, batch, optimized=optimized)


def write_rounded(half: Path, target: Path) -> None:
    """Write a float32 graph that rounds what each float16 node of the file `half` gives.

    ONNX Runtime removes only those pairs of casts that it has inserted itself, so these stay.
    """
    model = onnx.load(half)
    halves = _float16_values(model)
    graph = model.graph
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(_widened(tensor))
    nodes = list(graph.node)
    del graph.node[:], graph.value_info[:]
    for node in nodes:
        change_type(node, TensorProto.FLOAT16, TensorProto.FLOAT, _widened)
        graph.node.extend(_rounding(node, halves))
    save(model, target)


def _float16_values(model: onnx.ModelProto) -> set[str]:
    inferred = shape_inference.infer_shapes(without_weights(model))
    return {
        value.name
        for value in inferred.graph.value_info
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16
    }


def _rounding(node: NodeProto, halves: set[str]) -> Iterator[NodeProto]:
    """Yield the node and what rounds its outputs; those keep their names, rounded."""
    rounded = [name for name in node.output if name in halves and node.op_type not in SELECTING]
    node.output[:] = [f"{name}/exact" if name in rounded else name for name in node.output]
    yield node
    for name in rounded:
        stored = f"{name}/float16"
        yield helper.make_node("Cast", [f"{name}/exact"], [stored], to=TensorProto.FLOAT16)
        yield helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT)


def _widened(tensor: TensorProto) -> TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
