"""Every written file against the original, in the runtime that serves it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bundle.golden import FileAnswers, GoldenSet, own_tolerance
from bundle.manifest import Manifest
from export.conversion import Converted
from export.evaluation.image_sets import ImageSet, Probabilities, progress
from export.parity.compare import PROVABLE, Proof, measure, open_runner, require
from export.precision.cost import tolerance
from images.transform import Pixels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reference:
    """What the original answered: to all of `images`, and to the golden ones."""

    images: ImageSet
    expected: Probabilities
    golden: GoldenSet
    golden_pixels: Pixels


def prove(
    root: Path, manifest: Manifest, written: Sequence[Converted], device: str, reference: Reference
) -> list[Proof]:
    """Measure every file that can be run here; reduced ones get the tolerance that they need.

    Raises:
        ParityError: a file does not answer as the original does.
        PrecisionError: a reduced one is further from it than its precision accounts for.
    """
    provable = [item for item in written if item.file.format in PROVABLE]
    return [_prove(root, manifest, item, device, reference) for item in provable]


def _prove(
    root: Path, manifest: Manifest, item: Converted, device: str, reference: Reference
) -> Proof:
    """Prove one file; its runtime and weights are gone before the next one is loaded."""
    file, images = item.file, reference.images
    logger.info("proving %s on %d images", file.path, len(images))
    runner = open_runner(root, manifest, file, device)
    batches = progress(images.batches(max(file.buckets)), len(images), file.path)
    proof = Proof(file, measure(file, runner, batches, reference.expected, images.labels))
    if item.reduced:
        answers = runner.predict(reference.golden_pixels)
        proof = _reduced(item, proof, answers, reference.golden.probabilities())
    require(proof.parity)
    return proof


def _reduced(item: Converted, proof: Proof, answers: Probabilities, golden: Probabilities) -> Proof:
    file, distance = item.file, float(np.abs(answers - golden).max())
    largest = max(proof.parity.largest_difference, distance)
    proof = proof.allowing(tolerance(file.path, file.precision, largest))
    if file.precision != "int8":
        # Real float16 arithmetic differs from this processor's as much as from float32, so what
        # the file answers here says nothing about other machines.
        return proof
    own = FileAnswers(
        format=file.format,
        precision=file.precision,
        tolerance=own_tolerance(distance),
        probabilities=answers.tolist(),
    )
    parity = proof.parity.model_copy(update={"quantization": item.quantization})
    return replace(proof, parity=parity, answers=own)
