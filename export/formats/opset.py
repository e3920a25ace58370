"""The opset of what is written."""

from onnx import ModelProto, helper, version_converter

from export.formats.storage import without_weights

# The newest that MindSpore Lite 2.0.0's converter reads: 18 turns reduction axes into inputs.
OPSET = 17


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
