"""What the converter of MindSpore Lite is told about an Ascend NPU.

Sources: `Converter` of mindspore_lite 2.0 for `optimize`; "Ascend Conversion Tool Description" of
the MindSpore Lite 2.0 documentation (use/cloud_infer/converter_tool_ascend) for the file.
"""

from collections.abc import Sequence

from bundle.manifest import Precision, PrecisionMode

# Whatever may compute in float16 is held to what float16 costs.
PRECISIONS: dict[PrecisionMode, Precision] = {
    "enforce_fp32": "fp32",
    "enforce_origin": "fp32",
    "preferred_fp32": "fp16",
    "preferred_optimal": "fp16",
    "enforce_fp16": "fp16",
}


def optimize(soc: str | None) -> str:
    """Return the value of `Converter.optimize`; 2.0 knows no suffix, later ones do."""
    return f"ascend_oriented:{soc}" if soc else "ascend_oriented"


def config_text(
    name: str, image: Sequence[int], gears: Sequence[int], precision_mode: PrecisionMode
) -> str:
    """Return the converter's configuration file.

    Args:
        name: of the graph's input.
        image: height, width, channels.
        gears: batch sizes that can run; where it is one, the graph's shape states it instead.
        precision_mode: arithmetic of the whole graph.
    """
    lines = ["[ascend_context]"]
    if len(gears) > 1:
        lines.append(f"input_shape={name}:[-1,{','.join(map(str, image))}]")
        lines.append(f"dynamic_dims={','.join(f'[{gear}]' for gear in gears)}")
    lines.append(f"precision_mode={precision_mode}")
    return "\n".join(lines) + "\n"
