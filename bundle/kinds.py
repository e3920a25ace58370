"""The kinds of model files; apart from the manifest, for those who need no image library."""

from typing import Literal

Format = Literal["onnx", "mindir", "mindir-lite", "air"]
Precision = Literal["fp32", "fp16", "int8"]
# Of MindSpore Lite: what the operators compute in. Their names in ACL, in this order:
# force_fp32, allow_fp32_to_fp16, force_fp16, must_keep_origin_dtype, allow_mix_precision.
PrecisionMode = Literal[
    "enforce_fp32", "preferred_fp32", "enforce_fp16", "enforce_origin", "preferred_optimal"
]
