"""original -> bundle: record golden images, evaluate, convert, prove, seal."""

import logging
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from export.config import ExportConfig
from export.contract.bundle import Bundle, seal, sha256
from export.contract.manifest import MANIFEST, Accuracy, Manifest, ModelFile, Tensor
from export.errors import ExportError
from export.evaluation import EvaluationSet, ImageSet, Probabilities, Scores, UnlabelledSet
from export.formats import FORMATS, INPUT, OUTPUT, FileFormat
from export.golden_images import EncodedImage, choose, record, synthetic
from export.original import IMAGES_AT_ONCE, Original
from export.parity import PARITY, PROVABLE, FileParity, Parity, measure, open_runner, require
from export.progress import progress
from export.provenance import versions
from export.staging import next_version, staged
from training.datasets import open_dataset
from training.versions import revision

FP32_TOLERANCE = 1e-5
PROVED_ON = {"CPU": "cpu", "GPU": "cuda:{}", "Ascend": "cpu"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """A bundle that was proved, and the proof."""

    bundle: Bundle
    parity: Parity


def export_bundle(original: Original, config: ExportConfig) -> Exported:
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
        expected = _evaluate(original, images)
        scores = None if images.labels is None else Scores.of(expected, images.labels)
        files = [_convert(original, config, root, kind) for kind in config.file_format]
        manifest = _manifest(original, target, files, _accuracy(images, scores))
        parity = Parity(
            dataset=images.name,
            images=len(images),
            checkpoint=scores,
            files=_prove(root, manifest, config, images, expected),
            unproved=[file.path for file in files if file.format not in PROVABLE],
            versions=versions(),
        )
        (root / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
        (root / PARITY).write_text(parity.model_dump_json(indent=2) + "\n")
        seal(root)
    return Exported(Bundle.open(target), parity)


def _open_images(original: Original, config: ExportConfig) -> tuple[ImageSet, list[EncodedImage]]:
    """Return the images to compare on, and those to keep as golden."""
    if config.images is None:
        golden = synthetic(original.transform)
        return UnlabelledSet("synthetic", np.stack([image.pixels for image in golden])), golden
    dataset = open_dataset(config.images, "test")
    _check_classes(dataset.class_names, original.labels)
    name = f"{config.images.resolve().name}/test"
    return EvaluationSet(name, dataset, original.transform), choose(dataset, original)


def _check_classes(found: list[str], expected: list[str]) -> None:
    for index, (here, there) in enumerate(zip_longest(found, expected)):
        if here != there:
            raise ExportError(
                f"--images: class {index} is {here!r} in this data, but {there!r} in the checkpoint"
            )


def _evaluate(original: Original, images: ImageSet) -> Probabilities:
    logger.info("evaluating the checkpoint on %d images (%s)", len(images), images.name)
    batches = progress(images.batches(IMAGES_AT_ONCE), len(images), "checkpoint")
    return np.concatenate([original.predict(pixels) for pixels in batches])


def _convert(original: Original, config: ExportConfig, root: Path, kind: FileFormat) -> ModelFile:
    path = root / f"{config.file_name}_fp32.{FORMATS[kind]}"
    logger.info("writing %s", path.name)
    original.write(kind, path)
    return ModelFile(
        path=path.name,
        format=FORMATS[kind],
        precision="fp32",
        sha256=sha256(path),
        buckets=config.buckets,
        tolerance=FP32_TOLERANCE,
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
        accuracy=accuracy,
        revision=revision(),
        versions=versions(),
    )


def _prove(
    root: Path,
    manifest: Manifest,
    config: ExportConfig,
    images: ImageSet,
    expected: Probabilities,
) -> list[FileParity]:
    device = PROVED_ON[config.device_target].format(config.device_id)
    proofs = []
    for file in (file for file in manifest.files if file.format in PROVABLE):
        logger.info("proving %s on %d images", file.path, len(images))
        runner = open_runner(root, manifest, file, device)
        batches = progress(images.batches(max(file.buckets)), len(images), file.path)
        proofs.append(measure(file, runner, batches, expected, images.labels))
        require(proofs[-1])
    return proofs
