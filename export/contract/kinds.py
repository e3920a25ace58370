"""The kinds of model files; apart from the manifest, for those who need no image library."""

from typing import Literal

Format = Literal["onnx", "mindir", "mindir-lite", "air"]
Precision = Literal["fp32", "fp16", "int8"]
