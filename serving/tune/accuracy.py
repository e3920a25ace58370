"""Which precisions may be chosen: by the accuracy that the bundle records for each of its files."""

from pydantic import BaseModel, PositiveInt

from bundle.kinds import Precision
from bundle.store import Bundle, read_record

PARITY = "parity.json"
# Whoever bears a drop of so many points, all of them, need not know it.
ANY = 100


class _Scores(BaseModel):
    top1_correct: int


class _File(BaseModel):
    precision: Precision
    scores: _Scores | None


class _Parity(BaseModel):
    """What is needed here of the record that export writes into a bundle."""

    images: PositiveInt
    checkpoint: _Scores | None
    files: list[_File]


def drops(bundle: Bundle) -> dict[Precision, float]:
    """Return the percentage points of top-1 accuracy that each precision loses, where measured.

    Of several files of a precision, and of several runtimes, the worst counts. Raises
    `BundleError` for a broken record.
    """
    if PARITY not in bundle.manifest.attachments:
        return {}
    parity = read_record(_Parity, bundle.path / PARITY)
    found: dict[Precision, float] = {}
    for file in parity.files:
        if parity.checkpoint and file.scores:
            lost = parity.checkpoint.top1_correct - file.scores.top1_correct
            drop = 100 * lost / parity.images
            found[file.precision] = max(drop, found.get(file.precision, drop))
    return found


def allowed(
    bundle: Bundle, default: Precision, max_drop: float
) -> tuple[list[Precision], list[str]]:
    """Return the precisions that lose no more than `max_drop`, and why each other is left out.

    The `default` precision and fp32 are always allowed, and with a `max_drop` of 0 nothing else.
    """
    measured, kept, left_out = drops(bundle), list[Precision](), list[str]()
    for precision in dict.fromkeys(file.precision for file in bundle.manifest.files):
        drop = measured.get(precision)
        if precision in (default, "fp32") or 0 < max_drop >= (ANY if drop is None else drop):
            kept.append(precision)
        else:
            left_out.append(f"{precision}: {_reason(drop, max_drop)}")
    return kept, left_out


def _reason(drop: float | None, max_drop: float) -> str:
    if drop is None:
        return f"no record of its accuracy; --max-accuracy-drop {ANY} allows it"
    return f"loses {drop:.2f} points of top-1; --max-accuracy-drop {max_drop:g}"
