"""From the original to a bundle: record golden images, evaluate, convert, prove, seal."""

import logging
import platform
from collections.abc import Sequence
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bundle.golden import GOLDEN, GoldenSet
from bundle.manifest import MANIFEST, Accuracy, Manifest, ModelFile, Tensor
from bundle.store import Bundle, contents, model_paths, seal
from cli.program import revision
from export.answers import require_probabilities
from export.config import BundleConfig
from export.conversion import convert, precisions
from export.evaluation_set import (
    Fingerprint,
    HeldImages,
    ImageSet,
    Probabilities,
    Scores,
    images_per_class,
    open_images,
    progress,
)
from export.failures import told
from export.golden_images import EncodedImage, choose, record, spread, synthetic
from export.original import IMAGES_AT_ONCE, INPUT, OUTPUT, Original
from export.parity import PROVABLE, require_accuracy
from export.parity_page import write_page
from export.parity_record import PARITY, Parity
from export.proof import Proof, Reference, prove
from export.staging import bundle_name, next_version, staged, write_json
from export.transform_kinds import measure

# Those that touch pixels or weights.
LIBRARIES = (
    "cykooz.resizer",
    "mindspore",
    "numpy",
    "onnx",
    "onnxruntime",
    "opencv-python-headless",
    "openvino",
    "pillow",
    "simplejpeg",
)

logger = logging.getLogger(__name__)


class Exported(NamedTuple):
    """A bundle that was proved, and the proof."""

    bundle: Bundle
    parity: Parity


def export_bundle(original: Original, config: BundleConfig) -> Exported:
    """Write, prove and seal the bundle of a model; it appears whole or not at all.

    Raises:
        ExportError: the version exists already, or a file does not answer as the original does.
        TrainingError: there is no usable dataset where `config.images` points.
    """
    precisions(original, config)  # raises now what would otherwise come after the evaluation
    bundles = config.output / (config.name or bundle_name(original.architecture))
    target = bundles / (config.version or next_version(bundles))
    with staged(target, overwrite=config.overwrite) as root:
        images, golden_images = _open_images(original, config)
        golden = record(root, golden_images, original)
        expected, fingerprint = _evaluate(original, images)
        scores = None if images.labels is None else Scores.of(expected, images.labels)
        decoding = measure(original, config, images, expected)
        written = convert(original, config, root, images, expected)
        accuracy = scores.accuracy(images.name, len(images)) if scores else None
        manifest = partial(_manifest, original, target, accuracy)
        files = [item.file for item in written]
        golden_pixels = np.stack([image.pixels for image in golden_images])
        reference = Reference(images, expected, golden, golden_pixels)
        with told("the written files cannot be proved"):
            proofs = prove(root, manifest(files), written, config.device, reference)
        parities = [parity for proof in proofs for parity in proof.parities]
        if config.images and original.task == "multiclass":
            for parity in parities:
                require_accuracy(parity, scores, len(images), config.max_accuracy_drop)
        measured = Parity(
            dataset=images.name,
            images=len(images),
            images_sha256=fingerprint,
            class_images=images_per_class(images.labels, len(original.labels)),
            checkpoint=scores,
            reduced_decoding=decoding,
            files=parities,
            unproved=[file.path for file in files if file.format not in PROVABLE],
            versions=_versions(),
        )
        write_json(root / GOLDEN, _with_answers(golden, proofs))
        write_json(root / PARITY, measured)
        write_page(root, measured, original.labels)
        proved = _with_tolerances(files, proofs)
        attachments = sorted({*contents(root)} - model_paths(proved))
        write_json(root / MANIFEST, manifest(proved, attachments))
        seal(root)
    return Exported(Bundle.open(target), measured)


def _open_images(original: Original, config: BundleConfig) -> tuple[ImageSet, list[EncodedImage]]:
    """Return the images to compare on, and those to keep as golden."""
    if config.images is None:
        golden = synthetic(original.transform)
        return HeldImages("synthetic", np.stack([image.pixels for image in golden])), golden
    images = open_images(config.images, original.labels, original.transform, original.task)
    if images.dataset.class_names:
        return images, choose(images.dataset, original)
    return images, spread(images.dataset, original.transform)


def _evaluate(original: Original, images: ImageSet) -> tuple[Probabilities, str]:
    """Return what the original answers, and the fingerprint of what it was asked."""
    logger.info("evaluating the original on %d images (%s)", len(images), images.name)
    fingerprint = Fingerprint()
    batches = progress(fingerprint.of(images.batches(IMAGES_AT_ONCE)), len(images), "checkpoint")
    answers = np.concatenate([original.predict(pixels) for pixels in batches])
    require_probabilities(answers, images.title)
    return answers, fingerprint.hexdigest(images.labels)


def _manifest(
    original: Original,
    target: Path,
    accuracy: Accuracy | None,
    files: list[ModelFile],
    attachments: Sequence[str] = (),
) -> Manifest:
    size = original.transform.crop
    return Manifest(
        schema_version=1,
        name=target.parent.name,
        version=target.name,
        architecture=original.architecture,
        checkpoint_sha256=original.sha256,
        labels=original.labels,
        task=original.task,
        transform=original.transform,
        normalization=original.normalization,
        input=Tensor(name=INPUT, dtype="uint8", shape=["batch", size.height, size.width, 3]),
        output=Tensor(name=OUTPUT, dtype="float32", shape=["batch", len(original.labels)]),
        files=files,
        attachments=list(attachments),
        accuracy=accuracy,
        revision=revision(),
        versions=_versions(),
    )


def _with_answers(golden: GoldenSet, proofs: list[Proof]) -> GoldenSet:
    """Return the golden set with what int8 files, and bf16, answered to it."""
    answers = [own for proof in proofs for own in proof.answers]
    return golden.model_copy(update={"files": answers})


def _with_tolerances(files: list[ModelFile], proofs: list[Proof]) -> list[ModelFile]:
    """Return the files as they were proved, if they could be."""
    proved = {proof.file.title: proof.file for proof in proofs}
    return [proved.get(file.title, file) for file in files]


def _versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that the bundle was made with."""
    installed = {name: next(iter(distributions(name=name)), None) for name in LIBRARIES}
    versions = {name: found.version for name, found in installed.items() if found}
    return {"python": platform.python_version()} | versions
