"""What `inspect` prints about a bundle."""

import json
from collections.abc import Iterator

from bundle.golden import read_golden
from bundle.manifest import Accuracy, ModelFile, Task
from bundle.store import Bundle
from cli.tables import show_rows
from cli.text import printable
from export.parity_record import FileParity, read_parity
from export.precision.cost import Quantization
from images.transform import Stretch, Transform

SHOWN_LABELS = 10
HEADINGS = (
    "file", "precision", "runtime", "bytes", "batches", "allowed", "differs by", "same top-1",
    "top-1", "top-5", "calibration error",
)  # fmt: skip


def as_json(bundle: Bundle) -> str:
    """Return digest, manifest, parity and golden set as one JSON object."""
    whole = {
        "path": str(bundle.path),
        "digest": bundle.digest,
        "manifest": bundle.manifest.model_dump(mode="json"),
        "parity": read_parity(bundle.path).model_dump(mode="json"),
        "golden": read_golden(bundle.path).model_dump(mode="json"),
    }
    return json.dumps(whole, indent=2)


def show(bundle: Bundle) -> None:
    """Print a summary to read."""
    for heading, text in _lines(bundle):
        print(f"{heading:<13} {printable(text)}")
    show_rows(HEADINGS, _rows(bundle), text_columns=3)


def _lines(bundle: Bundle) -> Iterator[tuple[str, str]]:
    manifest = bundle.manifest
    yield "bundle", str(bundle.path)
    yield "digest", bundle.digest
    yield "model", f"{manifest.name}/{manifest.version}"
    yield "architecture", manifest.architecture
    yield "original", f"sha256:{manifest.checkpoint_sha256}"
    yield "classes", _classes(manifest.labels)
    yield "task", manifest.task
    yield "transform", _transform(manifest.transform)
    yield "normalization", f"mean {manifest.normalization.mean}, std {manifest.normalization.std}"
    for tensor in (manifest.input, manifest.output):
        yield "tensor", f"{tensor.name} {tensor.dtype} {tensor.shape}"
    yield "golden", f"{len(read_golden(bundle.path).images)} images"
    yield "accuracy", _accuracy(manifest.task, manifest.accuracy)
    for file in read_parity(bundle.path).files:
        if file.quantization:
            yield file.precision, _quantization(file.quantization)
    made_with = [f"{name} {version}" for name, version in manifest.versions.items()]
    yield "exported by", ", ".join([f"revision {manifest.revision or 'unknown'}", *made_with])


def _classes(labels: list[str]) -> str:
    more = f" and {len(labels) - SHOWN_LABELS} more" if len(labels) > SHOWN_LABELS else ""
    return f"{len(labels)}: {', '.join(labels[:SHOWN_LABELS])}{more}"


def _transform(transform: Transform) -> str:
    resize, crop = transform.resize, transform.crop
    size = (
        f"stretch to {resize.height} x {resize.width}"
        if isinstance(resize, Stretch)
        else f"shorter side to {resize.pixels}"
    )
    return (
        f"{size}, {transform.kernel}, {'with' if transform.antialias else 'without'} antialias"
        f"{'' if transform.resampler == 'pillow' else f', by {transform.resampler}'}"
        f"{'' if transform.decoding == 'full' else ', JPEGs decoded at a reduced scale'}; "
        f"centre crop {crop.height} x {crop.width} (height x width)"
    )


def _accuracy(task: Task, accuracy: Accuracy | None) -> str:
    if task == "multilabel":
        return "not known: an evaluation set has one class per image, a multilabel model several"
    if accuracy is None:
        return "not known: no images with true classes at the export"
    return (
        f"top-1 {accuracy.top1:.2%} ({accuracy.top1_correct}), top-5 "
        f"{accuracy.top5_correct / accuracy.images:.2%} ({accuracy.top5_correct}) of "
        f"{accuracy.images} images ({accuracy.dataset})"
    )


def _quantization(quantization: Quantization) -> str:
    kept, drop = quantization.kept_in_float, quantization.accuracy_drop
    cost = (
        f"changes the first class of {drop:.2f} % of the images"
        if quantization.by_agreement
        else f"costs {drop:.2f} percentage points of top-1"
    )
    return (
        f"{quantization.method} calibration on {quantization.calibration_images} images; "
        f"{len(kept)} of {quantization.layers} layers kept in float{': ' if kept else ''}"
        f"{', '.join(kept)}; {cost}"
    )


def _rows(bundle: Bundle) -> Iterator[tuple[str, ...]]:
    parity = read_parity(bundle.path).files
    for file in bundle.manifest.files:
        size = sum((bundle.path / part.path).stat().st_size for part in file.parts)
        recorded = [_row(file, size, one) for one in parity if one.title == file.title]
        yield from recorded or [_row(file, size, None)]


def _row(file: ModelFile, size: int, recorded: FileParity | None) -> tuple[str, ...]:
    runtime = recorded.runtime if recorded else "-"
    buckets = ",".join(map(str, file.buckets))
    stated = file.path, file.precision, runtime, f"{size:,}", buckets, f"{file.tolerance:.2g}"
    return *stated, *_measured(recorded)


def _measured(parity: FileParity | None) -> tuple[str, ...]:
    if parity is None:
        return "not proved", *["-"] * 4
    differs, agree = f"{parity.largest_difference:.2g}", str(parity.top1_agreement)
    if (scores := parity.scores) is None:
        return differs, agree, *["-"] * 3
    counts = str(scores.top1_correct), str(scores.top5_correct)
    return differs, agree, *counts, f"{scores.calibration_error:.4f}"
