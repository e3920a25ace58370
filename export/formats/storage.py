"""ONNX files on disk: weights that protobuf cannot hold lie in a second file beside the graph."""

import math
from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto, helper

# A protobuf message ends at 2 GiB; the rest is for the graph and the metadata appended to it.
LARGEST_WEIGHTS = 2**31 - 2**26


def save(model: ModelProto, path: Path) -> None:
    """Write a model; where its weights are too large, they leave it for the file `data_path`."""
    data_path(path).unlink(missing_ok=True)
    external = weight_bytes(model) > LARGEST_WEIGHTS
    onnx.save(model, path, save_as_external_data=external, location=data_path(path).name)


def data_path(path: Path) -> Path:
    """Return where the weights of the ONNX file at `path` lie, if they are not inside."""
    return path.with_name(f"{path.name}.data")


def weight_bytes(model: ModelProto) -> int:
    """Return the size of all weights; that of the message is known only once it is written."""
    return sum(
        math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in model.graph.initializer
    )


def without_weights(model: ModelProto) -> ModelProto:
    """Return a copy whose weights are inputs: it can be serialised, and costs no memory."""
    graph = model.graph
    taken = {value.name for value in graph.input}
    shapes = [
        helper.make_tensor_value_info(w.name, w.data_type, w.dims)
        for w in graph.initializer
        if w.name not in taken
    ]
    bare = GraphProto(
        name=graph.name, node=graph.node, output=graph.output, value_info=graph.value_info
    )
    bare.input.extend([*graph.input, *shapes])
    return ModelProto(
        ir_version=model.ir_version,
        opset_import=model.opset_import,
        functions=model.functions,
        graph=bare,
    )
