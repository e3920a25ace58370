"""Every written file against the original, in the runtime that serves it."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bundle.golden import GOLDEN, FileAnswers, own_tolerance, read_golden
from bundle.manifest import Manifest, ModelFile
from export.conversion import Converted
from export.evaluation.image_sets import ImageSet, Probabilities
from export.parity.compare import PROVABLE, measure, open_runner, require
from export.parity.record import FileParity
from export.precision import tolerance
from export.progress import progress
from images.transform import Pixels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reference:
    """What the original answered: to all of `images`, and to the golden ones."""

    images: ImageSet
    expected: Probabilities
    golden_pixels: Pixels


@dataclass(frozen=True)
class Proof:
    """A file with the tolerance that it was found to need, and how it was found."""

    file: ModelFile
    parity: FileParity
    answers: FileAnswers | None = None


def prove(
    root: Path, manifest: Manifest, written: Sequence[Converted], device: str, reference: Reference
) -> list[Proof]:
    """Measure every file that can be run here; its tolerance is set where it is a reduced one.

    Raises:
        ParityError: a file does not answer as the original does.
        PrecisionError: a reduced one is further from it than its precision accounts for.
    """
    provable = [item for item in written if item.file.format in PROVABLE]
    return [_prove(root, manifest, item, device, reference) for item in provable]


def _prove(
    root: Path, manifest: Manifest, item: Converted, device: str, reference: Reference
) -> Proof:
    """Prove one file; its runtime, and with it the weights, is gone before the next one comes."""
    file, images = item.file, reference.images
    logger.info("proving %s on %d images", file.path, len(images))
    runner = open_runner(root, manifest, file, device)
    batches = progress(images.batches(max(file.buckets)), len(images), file.path)
    parity = measure(file, runner, batches, reference.expected, images.labels)
    proof = Proof(file, parity)
    if item.reduced:
        answers = runner.predict(reference.golden_pixels)
        proof = _reduced(item, parity, answers, read_golden(root).probabilities())
    require(proof.parity)
    return proof


def record_answers(root: Path, proofs: Iterable[Proof]) -> None:
    """Add what int8 files answered to the golden set of the bundle at `root`."""
    answers = [proof.answers for proof in proofs if proof.answers]
    golden = read_golden(root).model_copy(update={"files": answers})
    (root / GOLDEN).write_text(golden.model_dump_json(indent=2) + "\n")


def _reduced(
    item: Converted, parity: FileParity, answers: Probabilities, golden: Probabilities
) -> Proof:
    file, distance = item.file, float(np.abs(answers - golden).max())
    largest = max(parity.largest_difference, distance)
    allowed = tolerance.from_original(file.path, file.precision, largest)
    own = FileAnswers(
        format=file.format,
        precision=file.precision,
        tolerance=own_tolerance(distance),
        probabilities=answers.tolist(),
    )
    return Proof(
        file.model_copy(update={"tolerance": allowed}),
        parity.model_copy(update={"tolerance": allowed, "quantization": item.quantization}),
        # Real float16 arithmetic differs from this processor's as much as from float32.
        own if file.precision == "int8" else None,
    )
