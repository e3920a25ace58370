"""What a reduced precision costs: the tolerance its file needs, and how an int8 file was made."""

from decimal import ROUND_CEILING, Context
from math import ceil
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from bundle.golden import FLOAT32_NOISE
from bundle.manifest import LARGEST_TOLERANCE, Frozen, Precision
from export.errors import PrecisionError
from images.transform import Pixels

Method = Literal["minmax", "entropy", "percentile"]

# For the kernels of other processors, which add and fuse in another order.
MARGIN: dict[Precision, float] = {"bf16": 1.5, "fp16": 2.0, "int8": 1.5}
# float16 rounds to 11 bits; a network that turns this into more is not fit for it. What int8 may
# cost is a setting, in accuracy.
LARGEST_FP16 = 0.02


class Quantization(Frozen):
    """How a file was quantised, on which training images, and what it cost."""

    method: Method = Field(description="of calibration; the best of `held_out_correct`")
    calibration_images: PositiveInt = Field(description="training images that set the ranges")
    held_out_images: PositiveInt = Field(
        description="other training images, on which the method was chosen"
    )
    held_out_correct: dict[Method, NonNegativeInt] = Field(
        description="held-out images classified correctly, per method, with all layers in int8"
    )
    held_out_fp32_correct: NonNegativeInt = Field(description="the same for the fp32 file")
    layers: PositiveInt = Field(description="number of layers that could be quantised")
    kept_in_float: list[str] = Field(
        description="layers that were left in float, most sensitive first"
    )
    accuracy_drop: float = Field(
        description="loss of top-1 accuracy on the evaluation set, in percentage points"
    )
    max_accuracy_drop: NonNegativeFloat = Field(
        description="largest loss allowed, in percentage points"
    )
    by_agreement: bool = Field(
        default=False,
        exclude_if=lambda by: not by,
        description="true if the evaluation set has no classes: then right is what the original "
        "answers, and the loss of accuracy, which is not known, at most `accuracy_drop`",
    )


class HeldOut(NamedTuple):
    """Training images on which nothing was calibrated, and what float32 answers to them.

    uint8 (n, height, width, 3), and float32 (n, classes).
    """

    pixels: Pixels
    answers: NDArray[np.float32]


def tolerance(path: str, precision: Precision, largest: float) -> float:
    """Return the allowed difference of a probability, given the largest that was measured.

    Raises:
        PrecisionError: it is more than the precision can account for.
    """
    cap = LARGEST_TOLERANCE[precision]
    if precision == "fp16" and largest > LARGEST_FP16:
        raise PrecisionError(
            f"{path}: a probability differs by {largest:.3g} from the original's; float16 may cost "
            f"{LARGEST_FP16:g}, so nothing was exported. Leave fp16 out of --precision"
        )
    if not largest <= cap:
        raise PrecisionError(
            f"{path}: a probability differs by {largest:.3g} from the original's; a bundle may "
            f"allow {precision} {cap:g}, so nothing was exported. Leave {precision} out of "
            f"--precision"
        )
    return min(_round_up(max(MARGIN[precision] * largest, FLOAT32_NOISE)), cap)


def told_too_few(images: int, max_drop: float, drop: float) -> str:
    """Say what to do if one of so many images, which is all that was lost, is too much; else ""."""
    one = 100 / images
    if not 0 < max_drop < one or drop > one * 1.01:
        return ""
    return (
        f". One of {images} images is {one:.2g} % already: judge by more, at least "
        f"{ceil(100 / max_drop)}, or allow more"
    )


def _round_up(value: float) -> float:
    """Return the value rounded up to two digits."""
    return float(Context(prec=2, rounding=ROUND_CEILING).create_decimal_from_float(value))
