"""How far a reduced file may be from the original, and from its own answers, as measured."""

from decimal import ROUND_CEILING, Context

from export.contract.manifest import Precision
from export.errors import PrecisionError

# The arithmetic of another processor: that of real float16, say, where this one has none.
MARGIN: dict[Precision, float] = {"fp16": 2.0, "int8": 1.5}
# float16 rounds to 11 bits; a network that turns this into more is not fit for it. What int8 may
# cost is asked for as accuracy.
LARGEST_FP16 = 0.02
FLOAT32_NOISE = 1e-5


def from_original(path: str, precision: Precision, largest: float) -> float:
    """Return the allowed difference of a probability, given the largest that was measured.

    Raises:
        PrecisionError: it is more than float16 can account for.
    """
    if precision == "fp16" and largest > LARGEST_FP16:
        raise PrecisionError(
            f"{path}: a probability differs by {largest:.3g} from the original's; float16 may cost "
            f"{LARGEST_FP16:g}, so nothing was exported. Leave fp16 out of --precision"
        )
    return _up(max(MARGIN[precision] * largest, FLOAT32_NOISE))


def from_own(distance: float) -> float:
    """Return the allowed difference from the file's own recorded golden probabilities.

    Half their distance from the original's: the original is never taken for the file, and other
    kernels, which round here and there to the next of 256 levels, have room.
    """
    return max(distance / 2, FLOAT32_NOISE)


def _up(value: float) -> float:
    """Return the value rounded up to two digits."""
    return float(Context(prec=2, rounding=ROUND_CEILING).create_decimal_from_float(value))
