"""original -> bundle: record golden images, evaluate, convert, prove, seal."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.config import BundleConfig
from export.contract.bundle import Bundle, contents, seal, sha256
from export.contract.manifest import MANIFEST, Accuracy, Manifest, ModelFile, Tensor
from export.contract.stamp import stamp
from export.evaluation import (
    Fingerprint,
    ImageSet,
    Probabilities,
    UnlabelledSet,
    open_images,
)
from export.formats import FORMATS, INPUT, OUTPUT, FileFormat
from export.formats.metadata import append_metadata
from export.golden_images import EncodedImage, choose, record, synthetic
from export.original import IMAGES_AT_ONCE, TOLERANCES, Original
from export.parity import PARITY, PROVABLE, FileParity, Parity, measure, open_runner, require
from export.parity_page import write_page
from export.progress import progress
from export.provenance import versions
from export.scores import Scores, images_per_class
from export.staging import next_version, staged
from training.versions import revision

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """A bundle that was proved, and the proof."""

    bundle: Bundle
    parity: Parity


def export_bundle(original: Original, config: BundleConfig) -> Exported:
    """Write, prove and seal the bundle of a model; it appears whole or not at all.

    Raises:
        ExportError: the version exists already, or a file does not answer as the original does.
        TrainingError: there is no usable dataset where `config.images` points.
    """
    bundles = config.output / (config.name or original.architecture)
    target = bundles / (config.version or next_version(bundles))
    with staged(target, overwrite=config.overwrite) as root:
        images, golden = _open_images(original, config)
        record(root, golden, original)
        expected, fingerprint = _evaluate(original, images)
        scores = None if images.labels is None else Scores.of(expected, images.labels)
        files = [_convert(original, config, root, kind) for kind in config.formats]
        manifest = _manifest(original, target, files, _accuracy(images, scores))
        parity = Parity(
            dataset=images.name,
            images=len(images),
            images_sha256=fingerprint,
            class_images=images_per_class(images.labels, len(original.labels)),
            checkpoint=scores,
            files=_prove(root, manifest, config, images, expected),
            unproved=[file.path for file in files if file.format not in PROVABLE],
            versions=versions(),
        )
        (root / PARITY).write_text(parity.model_dump_json(indent=2) + "\n")
        write_page(root, parity, original.labels)
        _close(root, manifest)
    return Exported(Bundle.open(target), parity)


def _open_images(original: Original, config: BundleConfig) -> tuple[ImageSet, list[EncodedImage]]:
    """Return the images to compare on, and those to keep as golden."""
    if config.images is None:
        golden = synthetic(original.transform)
        return UnlabelledSet("synthetic", np.stack([image.pixels for image in golden])), golden
    images = open_images(config.images, original.labels, original.transform)
    return images, choose(images.dataset, original)


def _evaluate(original: Original, images: ImageSet) -> tuple[Probabilities, str]:
    """Return what the original answers, and the fingerprint of what it was asked."""
    logger.info("evaluating the checkpoint on %d images (%s)", len(images), images.name)
    fingerprint = Fingerprint()
    batches = progress(fingerprint.of(images.batches(IMAGES_AT_ONCE)), len(images), "checkpoint")
    answers = np.concatenate([original.predict(pixels) for pixels in batches])
    return answers, fingerprint.hexdigest(images.labels)


def _convert(original: Original, config: BundleConfig, root: Path, kind: FileFormat) -> ModelFile:
    path = root / f"{config.file_name}_{original.precision}.{FORMATS[kind]}"
    logger.info("writing %s", path.name)
    original.write(kind, path)
    if kind == "ONNX":
        append_metadata(path, stamp(original, original.precision))
    return ModelFile(
        path=path.name,
        format=FORMATS[kind],
        precision=original.precision,
        sha256=sha256(path),
        buckets=[original.fixed_batch] if original.fixed_batch else config.buckets,
        tolerance=TOLERANCES[original.precision],
    )


def _accuracy(images: ImageSet, scores: Scores | None) -> Accuracy | None:
    if scores is None:
        return None
    return Accuracy(
        dataset=images.name,
        images=len(images),
        top1_correct=scores.top1_correct,
        top5_correct=scores.top5_correct,
    )


def _manifest(
    original: Original, target: Path, files: list[ModelFile], accuracy: Accuracy | None
) -> Manifest:
    size = original.transform.crop
    return Manifest(
        name=target.parent.name,
        version=target.name,
        architecture=original.architecture,
        checkpoint_sha256=original.sha256,
        labels=original.labels,
        transform=original.transform,
        normalization=original.normalization,
        input=Tensor(name=INPUT, dtype="uint8", shape=["batch", size.height, size.width, 3]),
        output=Tensor(name=OUTPUT, dtype="float32", shape=["batch", len(original.labels)]),
        files=files,
        attachments=[],
        accuracy=accuracy,
        revision=revision(),
        versions=versions(),
    )


def _prove(
    root: Path,
    manifest: Manifest,
    config: BundleConfig,
    images: ImageSet,
    expected: Probabilities,
) -> list[FileParity]:
    proofs = []
    for file in (file for file in manifest.files if file.format in PROVABLE):
        logger.info("proving %s on %d images", file.path, len(images))
        runner = open_runner(root, manifest, file, config.device)
        batches = progress(images.batches(max(file.buckets)), len(images), file.path)
        proofs.append(measure(file, runner, batches, expected, images.labels))
        require(proofs[-1])
    return proofs


def _close(root: Path, manifest: Manifest) -> None:
    """Write the manifest, which names all other files, and seal them."""
    models = {file.path for file in manifest.files}
    attachments = [name for name in contents(root) if name not in models]
    whole = manifest.model_copy(update={"attachments": attachments})
    (root / MANIFEST).write_text(whole.model_dump_json(indent=2) + "\n")
    seal(root)
