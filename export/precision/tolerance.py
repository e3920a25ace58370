"""How far a reduced file may be from the original, as measured."""

from decimal import ROUND_CEILING, Context

from bundle.golden import FLOAT32_NOISE
from bundle.manifest import LARGEST_TOLERANCE, Precision
from export.errors import PrecisionError

# The arithmetic of another processor: that of real float16, say, where this one has none.
MARGIN: dict[Precision, float] = {"fp16": 2.0, "int8": 1.5}
# float16 rounds to 11 bits; a network that turns this into more is not fit for it. What int8 may
# cost is asked for as accuracy.
LARGEST_FP16 = 0.02


def from_original(path: str, precision: Precision, largest: float) -> float:
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
    return min(_up(max(MARGIN[precision] * largest, FLOAT32_NOISE)), cap)


def _up(value: float) -> float:
    """Return the value rounded up to two digits."""
    return float(Context(prec=2, rounding=ROUND_CEILING).create_decimal_from_float(value))
