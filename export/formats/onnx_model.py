"""ONNX models, from MindSpore or elsewhere: weights, opset, metadata, and files above 2 GB.

Weights that protobuf cannot hold lie in a second file beside the graph.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import (
    GraphProto,
    ModelProto,
    StringStringEntryProto,
    TensorProto,
    helper,
    numpy_helper,
    version_converter,
)

# The newest that MindSpore Lite 2.0.0's converter reads: 18 turns reduction axes into inputs.
OPSET = 17
# A protobuf message ends at 2 GiB; the rest is for the graph and the metadata appended to it.
LARGEST_WEIGHTS = 2**31 - 2**26


def save(model: ModelProto, path: Path) -> None:
    """Write a model; weights that are too large for it go to the file `data_path`."""
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


def opset(model: ModelProto) -> int:
    """Return the version of ONNX's own operators that the model uses."""
    versions = [e.version for e in model.opset_import if e.domain in ("", "ai.onnx")]
    return max(versions, default=1)


def lift(model: ModelProto) -> None:
    """Bring the model to opset 17, in place."""
    lifted = version_converter.convert_version(without_weights(model), OPSET)
    del model.graph.node[:], model.graph.value_info[:], model.opset_import[:]
    model.graph.node.extend(lifted.graph.node)
    model.graph.value_info.extend(lifted.graph.value_info)
    model.opset_import.extend(lifted.opset_import)
    model.graph.initializer.extend(lifted.graph.initializer)
    model.ir_version = helper.find_min_ir_version_for(lifted.opset_import, ignore_unknown=True)


def append_metadata(path: Path, entries: Mapping[str, str]) -> None:
    """Add entries to the metadata of an ONNX file without reading it.

    Serialised messages that follow one another are one message (protobuf's encoding, "Last One
    Wins" and its merging of repeated fields), so the weights need not pass through memory again.
    """
    properties = [StringStringEntryProto(key=key, value=value) for key, value in entries.items()]
    with path.open("ab") as file:
        file.write(ModelProto(metadata_props=properties).SerializeToString(deterministic=True))


def compare_weights(a: Path, b: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the name of every weight that differs, and what to say of it in either file."""
    ours, theirs = _weights(a), _weights(b)
    for name in ours | theirs:
        if compared := _compare(ours.get(name), theirs.get(name)):
            yield name, *compared


def _weights(path: Path) -> dict[str, TensorProto]:
    return {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}


def _compare(a: TensorProto | None, b: TensorProto | None) -> tuple[str, str] | None:
    if a is None or b is None or (a.data_type, a.dims) != (b.data_type, b.dims):
        return _form(a), _form(b)
    ours, theirs = (numpy_helper.to_array(tensor).astype(np.float64) for tensor in (a, b))
    if np.array_equal(ours, theirs):
        return None
    return _form(a), f"differs by at most {np.abs(ours - theirs).max():.3g}"


def _form(tensor: TensorProto | None) -> str:
    if tensor is None:
        return "-"
    return f"{TensorProto.DataType.Name(tensor.data_type).lower()} {list(tensor.dims)}"
