"""float16 weights and arithmetic; normalisation and softmax stay in float32.

ONNX Runtime's converter (`onnxruntime.transformers.float16`) rounds between two nodes that it
must leave alone, and leaves nodes out of order; hence this one.
"""

from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from export.errors import PrecisionError
from export.failures import reason
from export.formats.onnx_model import save, without_weights
from export.original import PRELUDE

# Pixels lie between 0 and 255 and are divided by their spread: float16 would round them twice.
NORMALIZATION = frozenset({"Cast", "Sub", "Div", "Transpose"})
# Its exponentials leave the range of float16.
SOFTMAX = "Softmax"
# Sizes and not values: float32 by the definition of the operator.
FLOAT32_INPUTS = {("Resize", 1), ("Resize", 2)}


def write_fp16(source: Path, target: Path) -> None:
    """Write a float16 copy of a float32 deployment graph; uint8 in and float32 out stay.

    Raises:
        PrecisionError: a weight is too large for float16, or an operator does not take it.
    """
    model = onnx.load(source)
    inferred = shape_inference.infer_shapes(without_weights(model))
    model.graph.value_info.extend(inferred.graph.value_info)
    halving = _Halving(model.graph)
    halving.convert()
    del model.graph.value_info[:]
    save(model, target)
    try:
        onnx.checker.check_model(target, full_check=True)
    except (onnx.checker.ValidationError, shape_inference.InferenceError) as error:
        raise PrecisionError(
            f"fp16: this model does not work in float16, leave fp16 out of --precision: "
            f"{reason(error)}"
        ) from error


class _Halving:
    def __init__(self, graph: GraphProto) -> None:
        self.graph, self.nodes = graph, list(graph.node)
        prefix = takewhile(_normalizes, self.nodes)
        self.exact = {id(node) for node in prefix}
        self.exact |= {id(node) for node in self.nodes if node.op_type == SOFTMAX}
        self.weights = {w.name: w for w in graph.initializer if w.data_type == TensorProto.FLOAT}
        self.floats = {
            value.name
            for value in (*graph.value_info, *graph.output)
            if value.type.tensor_type.elem_type == TensorProto.FLOAT
        }
        # Which float values are float32 when all is done.
        self.float32 = {n for node in self.nodes if id(node) in self.exact for n in node.output}

    def convert(self) -> None:
        self._halve_weights()
        del self.graph.node[:]
        casts: set[str] = set()
        for node in self.nodes:
            kind = TensorProto.FLOAT if id(node) in self.exact else TensorProto.FLOAT16
            if kind == TensorProto.FLOAT16:
                change_type(node, TensorProto.FLOAT, TensorProto.FLOAT16, _half)
            for index, name in enumerate(node.input):
                if self._must_be_cast(node, index, kind):
                    node.input[index] = self._cast(name, kind, casts)
            self.graph.node.append(node)
        for output in self.graph.output:
            self._give_float32(output.name)

    def _halve_weights(self) -> None:
        """Halve the weights that only float16 nodes use; a shared one stays, and is cast."""
        for node in self.nodes:
            for index, name in enumerate(node.input):
                exact = id(node) in self.exact or (node.op_type, index) in FLOAT32_INPUTS
                if exact and name in self.weights:
                    self.float32.add(name)
        for name in self.weights.keys() - self.float32:
            self.weights[name].CopyFrom(_half(self.weights[name]))

    def _must_be_cast(self, node: NodeProto, index: int, kind: int) -> bool:
        name = node.input[index]
        if (node.op_type, index) in FLOAT32_INPUTS or name not in self.floats | {*self.weights}:
            return False
        return (name in self.float32) != (kind == TensorProto.FLOAT)

    def _cast(self, name: str, kind: int, casts: set[str]) -> str:
        """Return the name of the value as `kind`; add the node that makes it, once."""
        cast = f"{name}_{TensorProto.DataType.Name(kind).lower()}"
        if cast not in casts:
            casts.add(cast)
            self.graph.node.append(helper.make_node("Cast", [name], [cast], name=cast, to=kind))
        return cast

    def _give_float32(self, output: str) -> None:
        if output in self.floats and output not in self.float32:
            maker = next(node for node in self.graph.node if output in node.output)
            half = f"{output}_float16"
            maker.output[:] = [half if name == output else name for name in maker.output]
            for node in self.graph.node:
                node.input[:] = [half if name == output else name for name in node.input]
            last = helper.make_node("Cast", [half], [output], name=output, to=TensorProto.FLOAT)
            self.graph.node.append(last)


def _normalizes(node: NodeProto) -> bool:
    return node.op_type in NORMALIZATION or node.name.startswith(PRELUDE)


def change_type(
    node: NodeProto, old: int, new: int, convert: Callable[[TensorProto], TensorProto]
) -> None:
    """Turn what a node's attributes hold, or cast to, from one type of float into another."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR:
            if attribute.t.data_type == old:
                attribute.t.CopyFrom(convert(attribute.t))
        elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == old:
            attribute.i = new


def _half(tensor: TensorProto) -> TensorProto:
    values = numpy_helper.to_array(tensor)
    largest = float(np.abs(values).max(initial=0.0))
    if not largest <= float(np.finfo(np.float16).max):
        raise PrecisionError(
            f"fp16: {tensor.name or 'a constant'} holds {largest:.3g}, and float16 ends at 65504; "
            f"leave fp16 out of --precision"
        )
    return numpy_helper.from_array(values.astype(np.float16), tensor.name)
