"""The opset of what is written."""

from onnx import ModelProto, helper, version_converter

# The newest that MindSpore Lite 2.0.0's converter reads: 18 turns reduction axes into inputs.
OPSET = 17


def opset(model: ModelProto) -> int:
    """Return the version of ONNX's own operators that the model uses."""
    versions = [e.version for e in model.opset_import if e.domain in ("", "ai.onnx")]
    return max(versions, default=1)


def lift(model: ModelProto) -> ModelProto:
    """Return the model in opset 17; the weights go round the converter, which copies them."""
    weights = list(model.graph.initializer)
    shapes = [helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in weights]
    del model.graph.initializer[:]
    model.graph.input.extend(shapes)
    lifted = version_converter.convert_version(model, OPSET)
    for shape in shapes:
        lifted.graph.input.remove(shape)
    lifted.graph.initializer.extend(weights)
    lifted.ir_version = helper.find_min_ir_version_for(lifted.opset_import, ignore_unknown=True)
    return lifted
