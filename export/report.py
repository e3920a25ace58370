"""What `export`, `convert`, `sign` and `verify` print on standard output when they are done."""

import shlex
from pathlib import Path

from bundle.store import SIGNATURE, Bundle
from cli.tables import show_rows
from export.audit.exceedance import told_beyond
from export.audit.verification import FileResult, Verification
from export.bare_record import BareParity
from export.parity_record import FileParity, Parity
from export.sign import Signature

PARITY_HEADINGS = ("file", "runtime", "differs by", "allowed", "same top-1", "top-1")
VERIFICATION_HEADINGS = (
    "file", "runtime", "result", "golden", "allowed", "differs by", "top-1", "recorded",
)  # fmt: skip
REFERENCES = {"onnx": "the ONNX file, all images", "golden": "the original, golden images"}


def show_export(bundle: Bundle, parity: Parity) -> None:
    """Print where the bundle is, how accurate it is, how close its files come, how to serve it."""
    _show_bundle(bundle)
    manifest = bundle.manifest
    if accuracy := manifest.accuracy:
        print(
            f"accuracy  top-1 {accuracy.top1:.2%}, "
            f"top-5 {accuracy.top5_correct / accuracy.images:.2%} "
            f"of {accuracy.images} images ({accuracy.dataset})"
        )
    elif manifest.task == "multiclass":
        print("accuracy  not known: that needs --images with true classes")
    _show_parity(f"against the original, {parity.images} images", parity.files)
    measured = {file.title: file.tolerance_images for file in parity.files}
    for title, images in measured.items():
        if images:
            print(f"allowed   {title}: measured on {images} images; {told_beyond(images)}")
    if parity.reduced_decoding:
        print(f"decoding  {parity.reduced_decoding.told(parity.checkpoint, parity.images)}")
    elif manifest.transform.decoding == "reduced":
        print("decoding  what reduced decoding costs was not measured: that needs --images")
    for path in parity.unproved:
        print(f"not proved: {path}; nothing on this machine can run it")
    print(f"serve it: make serve MODEL={shlex.quote(str(bundle.path))}")


def show_bare(folder: Path, record: str, parity: BareParity) -> None:
    """Print where the files of the network alone are, what they take, how close they come."""
    mean, std = parity.normalization.mean, parity.normalization.std
    print(f"input     {parity.input.name} {parity.input.dtype} {parity.input.shape}: RGB,")
    print(f"          (pixel - mean) / std; mean {mean}, std {std}, of pixels from 0 to 255")
    print(f"output    {parity.output.name} {parity.output.dtype} {parity.output.shape}: logits")
    rows = [
        (
            str(folder / file.path),
            file.runtime,
            _small(file.largest_difference),
            _small(file.tolerance),
            str(file.top1_agreement),
        )
        for file in parity.files
    ]
    title = f"logits against the checkpoint's, {parity.images} images ({parity.dataset})"
    show_rows(PARITY_HEADINGS[:5], rows, title=title, text_columns=2)
    print(f"labels, transform and proof: {folder / record}")


def show_conversion(bundle: Bundle, parity: FileParity) -> None:
    """Print where the copy is, how close the added file comes, how to serve it."""
    _show_bundle(bundle)
    _show_parity(f"against {REFERENCES[parity.compared_with]}", [parity])
    path = shlex.quote(str(bundle.path))
    print(f"serve it: make serve RUNTIME=mindspore-lite MODEL={path}")


def show_verification(verification: Verification) -> None:
    """Print what was proved, file by file."""
    _show_bundle(verification.bundle, ": seal and manifest hold")
    print(f"signature {_signer(verification)}")
    print(f"golden    {verification.golden_images} images: pixels equal")
    if accuracy := verification.accuracy:
        which = "the recorded set" if accuracy.is_recorded_set else (
            "not the recorded set, so its counts are not compared"
        )  # fmt: skip
        print(f"images    {len(accuracy.images)} ({accuracy.images.name}): {which}")
        if accuracy.images.labels is None:
            print("accuracy  not known: the images have no true classes")
        if accuracy.reference is None:
            print("not known: how far the answers to them are from float32's, of which no file ran")
    else:
        print(
            f"not known: the accuracy, and how far the answers to images other than these "
            f"{verification.golden_images} are from the original's; that needs --images"
        )
    rows = [_verified(result, verification) for result in verification.files]
    show_rows(VERIFICATION_HEADINGS, rows, text_columns=3)


def show_signature(signature: Signature) -> None:
    """Print where a signature is, and whose it is."""
    print(f"signature {signature.path}: {signature.files} files")
    print(f"key       {signature.key}")


def _signer(verification: Verification) -> str:
    if verification.key:
        return f"by {verification.key}"
    signed = (verification.bundle.path / SIGNATURE).exists()
    return "not checked: that needs --public-key" if signed else "none"


def _show_bundle(bundle: Bundle, remark: str = "") -> None:
    print(f"bundle    {bundle.path}")
    print(f"digest    {bundle.digest}{remark}")


def _show_parity(title: str, files: list[FileParity]) -> None:
    show_rows(PARITY_HEADINGS, [_compared(file) for file in files], title=title, text_columns=2)


def _compared(file: FileParity) -> tuple[str, ...]:
    return (
        file.title,
        f"{file.runtime} {file.device}",
        _small(file.largest_difference),
        _small(file.tolerance),
        str(file.top1_agreement),
        str(file.scores.top1_correct) if file.scores else "-",
    )


def _verified(result: FileResult, verification: Verification) -> tuple[str, ...]:
    measured = result.measured and result.measured.parity
    recorded = verification.record.of(result.file.title, result.runtime)
    return (
        result.file.title,
        result.runtime or "-",
        _verdict(result),
        _small(result.golden_difference),
        _small(result.file.tolerance),
        _difference(result, verification),
        str(measured.scores.top1_correct) if measured and measured.scores else "-",
        str(recorded.scores.top1_correct) if recorded and recorded.scores else "-",
    )


def _difference(result: FileResult, verification: Verification) -> str:
    accuracy = verification.accuracy
    if result.measured is None or accuracy is None or accuracy.reference is None:
        return "-"
    if result.file.title == accuracy.reference:
        return "reference"
    return _small(result.measured.parity.largest_difference)


def _verdict(result: FileResult) -> str:
    if result.skipped:
        return f"not verified here: {result.skipped}"
    return "does not hold" if result.problems else "holds"


def _small(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"
