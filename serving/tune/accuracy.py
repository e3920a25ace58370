"""Which precisions may be chosen: by the accuracy that the bundle records for each of its files."""

from collections.abc import Iterator

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

    Of several files of a precision the worst counts. Raises `BundleError` for a broken record.
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
    held = dict.fromkeys(file.precision for file in bundle.manifest.files)
    reasons = {p: r for p, r in _reasons(bundle, max_drop) if p not in (default, "fp32")}
    kept = [precision for precision in held if precision not in reasons]
    return kept, [f"{precision}: {reason}" for precision, reason in reasons.items()]


def _reasons(bundle: Bundle, max_drop: float) -> Iterator[tuple[Precision, str]]:
    """Yield each precision that is not allowed, and why."""
    measured = drops(bundle)
    for precision in dict.fromkeys(file.precision for file in bundle.manifest.files):
        drop = measured.get(precision)
        if drop is None and max_drop < ANY:
            yield precision, f"no record of its accuracy; --max-accuracy-drop {ANY} allows it"
        elif drop is not None and (max_drop == 0 or drop > max_drop):
            yield precision, f"loses {drop:.2f} points of top-1; --max-accuracy-drop {max_drop:g}"
