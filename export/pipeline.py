"""original -> bundle: record golden images, evaluate, convert, prove, seal."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bundle.manifest import MANIFEST, Accuracy, Manifest, ModelFile, Tensor
from bundle.store import Bundle, contents, model_paths, seal
from export.config import BundleConfig
from export.conversion import convert, precisions
from export.evaluation.image_sets import (
    Fingerprint,
    ImageSet,
    Probabilities,
    UnlabelledSet,
    open_images,
)
from export.evaluation.scores import Scores, images_per_class
from export.formats import INPUT, OUTPUT
from export.golden_images import EncodedImage, choose, record, synthetic
from export.original import IMAGES_AT_ONCE, Original
from export.parity.compare import PROVABLE
from export.parity.page import write_page
from export.parity.record import PARITY, Parity
from export.progress import progress
from export.provenance import versions
from export.proving import Proof, Reference, prove, record_answers
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
    precisions(original, config)  # raises at once what else the evaluation would delay
    bundles = config.output / (config.name or original.architecture)
    target = bundles / (config.version or next_version(bundles))
    with staged(target, overwrite=config.overwrite) as root:
        images, golden = _open_images(original, config)
        record(root, golden, original)
        expected, fingerprint = _evaluate(original, images)
        scores = None if images.labels is None else Scores.of(expected, images.labels)
        written = convert(original, config, root, images, scores)
        files = [item.file for item in written]
        manifest = _manifest(original, target, files, _accuracy(images, scores))
        reference = Reference(images, expected, np.stack([image.pixels for image in golden]))
        proofs = prove(root, manifest, written, config.device, reference)
        record_answers(root, proofs)
        parity = Parity(
            dataset=images.name,
            images=len(images),
            images_sha256=fingerprint,
            class_images=images_per_class(images.labels, len(original.labels)),
            checkpoint=scores,
            files=[proof.parity for proof in proofs],
            unproved=[file.path for file in files if file.format not in PROVABLE],
            versions=versions(),
        )
        (root / PARITY).write_text(parity.model_dump_json(indent=2) + "\n")
        write_page(root, parity, original.labels)
        _close(root, manifest, proofs)
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
        schema_version=1,
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


def _close(root: Path, manifest: Manifest, proofs: list[Proof]) -> None:
    """Write the manifest, which names all other files, and seal them."""
    models = {file.path: file for file in manifest.files}
    models |= {proof.file.path: proof.file for proof in proofs}
    files = list(models.values())
    attachments = sorted({*contents(root)} - model_paths(files))
    whole = manifest.model_copy(update={"files": files, "attachments": attachments})
    (root / MANIFEST).write_text(whole.model_dump_json(indent=2) + "\n")
    seal(root)
