"""The types of values in a manifest; apart from it, so that `--help` loads no image library."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveInt

Format = Literal["onnx", "mindir", "mindir-lite", "air"]
# bf16 has no file of its own: it is the fp32 file, computed in bfloat16.
Precision = Literal["fp32", "bf16", "fp16", "int8"]
# multiclass: one class is right, and the probabilities sum to 1; multilabel: each class is right
# or wrong by itself. The words of scikit-learn.
Task = Literal["multiclass", "multilabel"]
# Of MindSpore Lite: what the operators compute in. Their names in ACL, in this order:
# force_fp32, allow_fp32_to_fp16, force_fp16, must_keep_origin_dtype, allow_mix_precision.
PrecisionMode = Literal[
    "enforce_fp32", "preferred_fp32", "enforce_fp16", "enforce_origin", "preferred_optimal"
]

# The largest difference of a probability from its golden value that a bundle may allow: more would
# prove nothing. That of bf16 is three times what EfficientNet-Lite0 needs, which differs by up to
# 0.064 on photos; a small network differs by up to 0.034 on 10,000 images. The error of int8 on a
# single image is hardly bounded. Both are also compared with their own recorded answers.
LARGEST_TOLERANCE: dict[Precision, float] = {
    "fp32": 1e-5,
    "bf16": 0.3,
    "fp16": 0.04,
    "int8": 0.9,
}


def stored_as(precision: Precision) -> Precision:
    """Return the precision of the weights in a file that is computed in `precision`."""
    return "fp32" if precision == "bf16" else precision


def _stays_inside(path: str) -> str:
    pure = PurePosixPath(path)
    if (
        not pure.parts
        or pure.is_absolute()
        or ".." in pure.parts
        or "\\" in path
        or str(pure) != path
    ):
        raise ValueError(f"{path!r} is not a plain relative path inside the bundle")
    return path


def _rises(buckets: list[int]) -> list[int]:
    if buckets != sorted(set(buckets)):
        raise ValueError(f"buckets must strictly rise, and not be {buckets}")
    return buckets


BundlePath = Annotated[str, AfterValidator(_stays_inside)]
Buckets = Annotated[list[PositiveInt], AfterValidator(_rises), Field(min_length=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Tolerance = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
NAME = "^[A-Za-z0-9][A-Za-z0-9._-]*$"
Name = Annotated[str, Field(pattern=NAME)]
