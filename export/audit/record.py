"""What a bundle states in two places must be the same in both."""

from collections.abc import Iterator

from bundle.manifest import Accuracy
from bundle.store import Bundle, BundleError
from export.parity.record import PARITY, Parity


def check_record(bundle: Bundle, parity: Parity) -> None:
    """Raise `BundleError` where manifest and parity record contradict each other."""
    if contradictions := list(_contradictions(bundle, parity)):
        raise BundleError(
            f"{bundle.path}: manifest.json and {PARITY} disagree: {'; '.join(contradictions)}"
        )


def _contradictions(bundle: Bundle, parity: Parity) -> Iterator[str]:
    files = {file.path: file for file in bundle.manifest.files}
    recorded = {file.path: file for file in parity.files}
    if files.keys() != recorded.keys() | set(parity.unproved):
        yield f"files are {sorted(files)} and {sorted({*recorded, *parity.unproved})}"
    for path in sorted(files.keys() & recorded.keys()):
        for field in ("format", "precision", "tolerance"):
            stated, measured = getattr(files[path], field), getattr(recorded[path], field)
            if stated != measured:
                yield f"{field} of {path} is {stated} and {measured}"
    if (stated := bundle.manifest.accuracy) != (measured := _accuracy(parity)):
        yield f"accuracy is {stated} and {measured}"


def _accuracy(parity: Parity) -> Accuracy | None:
    if parity.checkpoint is None:
        return None
    return Accuracy(
        dataset=parity.dataset,
        images=parity.images,
        top1_correct=parity.checkpoint.top1_correct,
        top5_correct=parity.checkpoint.top5_correct,
    )
