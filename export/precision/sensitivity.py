"""How much each layer by itself suffers from int8, measured for all of them in one run.

The float32 graph runs once. Beside each of its layers runs the int8 copy of that layer, on
the same input, rounded; what counts is the power of the difference, relative to that of the answer.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper

from export.formats.onnx_model import save
from export.original import INPUT
from images.transform import Pixels
from serving.backends.ort.library import onnxruntime

COPY = "int8/"


def noise(
    source: Path, quantized: Path, layers: list[str], batches: Iterable[Pixels], probe: Path
) -> dict[str, float]:
    """Return noise over signal at the output of each layer, if only that one were in int8.

    Args:
        source: the preprocessed float32 file.
        quantized: the same with all layers in int8, as QDQ nodes.
        layers: names of nodes.
        batches: uint8 (n, height, width, 3) each.
        probe: a file to write, the graph that measures.
    """
    model, copies = onnx.load(source), onnx.load(quantized).graph
    floats, roundeds = _outputs(model.graph), _outputs(copies)
    _add_copies(model.graph, copies, layers)
    del model.graph.output[:]
    for layer in layers:
        _add_powers(model.graph, floats[layer], COPY + roundeds[layer])
    save(model, probe)
    session = onnxruntime.InferenceSession(probe, providers=["CPUExecutionProvider"])
    powers = np.sum([session.run(None, {INPUT: pixels}) for pixels in batches], axis=0)
    signals, noises = powers[0::2], powers[1::2]
    # A layer that gives only zeros, in int8 too, has no noise.
    return dict(zip(layers, (noises / np.maximum(signals, 1e-30)).tolist(), strict=True))


def _outputs(graph: GraphProto) -> dict[str, str]:
    return {node.name: node.output[0] for node in graph.node}


def _add_copies(graph: GraphProto, quantized: GraphProto, layers: Iterable[str]) -> None:
    """Add the int8 copies of the layers, up to where they round what the float graph gives."""
    nodes = {node.name: node for node in quantized.node}
    makers = {output: node for node in quantized.node for output in node.output}
    wanted: dict[str, NodeProto] = {}
    for layer in layers:
        wanted |= {node.name: node for node in _isolated(nodes[layer], makers)}
    made = {output for node in wanted.values() for output in node.output}
    # In the order of the quantised graph, which is sorted already.
    for node in [node for node in quantized.node if node.name in wanted]:
        copy = graph.node.add()
        copy.CopyFrom(node)
        copy.name = COPY + node.name
        copy.input[:] = [COPY + name if name in made else name for name in node.input]
        copy.output[:] = [COPY + name for name in node.output]
    held = {tensor.name for tensor in graph.initializer}
    used = {name for node in wanted.values() for name in node.input}
    graph.initializer.extend(
        tensor for tensor in quantized.initializer if tensor.name in used - held
    )


def _isolated(layer: NodeProto, makers: dict[str, NodeProto]) -> Iterator[NodeProto]:
    """Yield the node and its inputs, back to where a value of the float graph is rounded."""
    yield layer
    if layer.op_type == "QuantizeLinear":
        return
    for name in layer.input:
        if name in makers:
            yield from _isolated(makers[name], makers)


def _add_powers(graph: GraphProto, name: str, copy: str) -> None:
    """Let the graph give the power of a value, and that of its difference from the copy."""
    error = f"{COPY}error/{name}"
    graph.node.append(helper.make_node("Sub", [name, copy], [error]))
    for value in (name, error):
        power = f"{COPY}power/{value}"
        graph.node.append(helper.make_node("ReduceSumSquare", [value], [power], keepdims=0))
        graph.output.append(helper.make_tensor_value_info(power, TensorProto.FLOAT, []))
