"""The opset of what is written."""

from functools import partial

from onnx import ModelProto, helper, version_converter

from export.formats.storage import without_weights

# The newest that MindSpore Lite 2.0.0's converter reads: 18 turns reduction axes into inputs.
OPSET = 17


def opset(model: ModelProto) -> int:
    """Return the version of ONNX's own operators that the model uses."""
    versions = [e.version for e in model.opset_import if e.domain in ("", "ai.onnx")]
    return max(versions, default=1)


def lift(model: ModelProto) -> ModelProto:
    """Return the model in opset 17."""
    lifted = without_weights(
        model, partial(version_converter.convert_version, target_version=OPSET)
    )
    lifted.ir_version = helper.find_min_ir_version_for(lifted.opset_import, ignore_unknown=True)
    return lifted
