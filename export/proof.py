"""The proof of a new bundle: every file, in every runtime that serves it, against the original."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bundle.golden import FileAnswers, GoldenSet, own_tolerance
from bundle.manifest import Manifest, ModelFile
from export.answers import require_independence
from export.errors import PrecisionError
from export.evaluation_set import HeldImages, ImageSet, Probabilities, progress
from export.original import TOLERANCES, Converted
from export.parity import PROVABLE, Runner, compare, open_runner, proving_runtimes, require
from export.parity_record import FileParity
from export.precision.cost import HeldOut, tolerance
from images.transform import Pixels

# A graph that rounds holds every value twice: larger batches cost memory and are no faster.
ROUNDED_BATCH = 8

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Proof:
    """A file with its tolerance, how close it came in each runtime, and its own answers there.

    Only int8 and bf16 files have those.
    """

    file: ModelFile
    parities: list[FileParity]
    answers: Sequence[FileAnswers] = ()

    def allowing(self, tolerance: float, images: int) -> "Proof":
        """Return the same with another tolerance, which was measured on so many images."""
        update = {"tolerance": tolerance, "tolerance_images": images}
        parities = [parity.model_copy(update=update) for parity in self.parities]
        file = self.file.model_copy(update={"tolerance": tolerance})
        return Proof(file, parities, self.answers)


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


class _Run(NamedTuple):
    """One runtime's answers to the images, compared, and to the golden ones."""

    runner: Runner
    parity: FileParity
    golden: Probabilities


def _prove(
    root: Path, manifest: Manifest, item: Converted, device: str, reference: Reference
) -> Proof:
    """Prove one file; its runtimes and weights are gone before the next one is loaded."""
    file = item.file
    runs = [
        _run(open_runner(root, manifest, file, device, runtime=runtime), file, reference)
        for runtime in proving_runtimes(file, device)
    ]
    proof = Proof(file, [run.parity for run in runs])
    if item.reduced:
        proof = _reduced(root, item, proof, runs, reference)
    allowed = min(proof.file.tolerance, TOLERANCES[file.precision])
    for run, parity in zip(runs, proof.parities, strict=True):
        require(parity)
        # Its own answers are the measure, so that what a reduced precision costs is none here.
        predict, pixels = run.runner.predict, reference.golden_pixels
        require_independence(file.title, predict, file.buckets, pixels, run.golden, allowed)
    return proof


def _run(runner: Runner, file: ModelFile, reference: Reference) -> _Run:
    images = reference.images
    logger.info("proving %s in %s on %d images", file.title, runner.runtime, len(images))
    batches = progress(images.batches(max(file.buckets)), len(images), file.title)
    actual = runner.answers(batches)
    parity = compare(file, runner, actual, reference.expected, images.labels)
    return _Run(runner, parity, runner.predict(reference.golden_pixels))


def _reduced(
    root: Path, item: Converted, proof: Proof, runs: Sequence[_Run], reference: Reference
) -> Proof:
    file, golden = item.file, reference.golden.probabilities()
    largest = max(max(_differences(run, file, golden, item.held_out)) for run in runs)
    images = len(reference.images) + len(golden)
    if file.precision == "fp16":
        # What a processor without float16 answers says nothing about one that has it: so these
        # answers are not recorded, and the tolerance follows from arithmetic that rounds.
        # Sums in another order round elsewhere: that alone may double the largest difference.
        rounded = max(_rounded(root, file, reference, optimized=way) for way in (True, False))
        record = {"rounded_difference": rounded}
        proof = Proof(file, [parity.model_copy(update=record) for parity in proof.parities])
        largest = max(largest, rounded)
        return proof.allowing(tolerance(file.title, file.precision, largest), images)
    images += len(item.held_out.pixels) if item.held_out else 0
    proof = proof.allowing(tolerance(file.title, file.precision, largest), images)
    # Only ONNX Runtime's answers were asked for when the file was made.
    told = {"quantization": item.quantization}
    parities = [
        parity.model_copy(update=told) if parity.runtime == "onnxruntime" else parity
        for parity in proof.parities
    ]
    return Proof(proof.file, parities, [_own_answers(file, run, golden) for run in runs])


def _differences(
    run: _Run, file: ModelFile, golden: Probabilities, held_out: HeldOut | None
) -> Iterator[float]:
    """Yield the largest difference on the images, on the golden ones, and on those held out."""
    yield run.parity.largest_difference
    yield float(np.abs(run.golden - golden).max())
    if held_out:
        images = HeldImages("held-out training images", held_out.pixels)
        logger.info(
            "measuring %s in %s on %d %s", file.title, run.runner.runtime, len(images), images.name
        )
        actual = run.runner.answers(images.batches(max(file.buckets)))
        yield float(np.abs(actual - held_out.answers).max())


def _rounded(root: Path, file: ModelFile, reference: Reference, *, optimized: bool) -> float:
    """Return how far a float16 file is from the original where every value is rounded.

    Raises:
        PrecisionError: a value leaves the range of float16.
    """
    from export.precision.rounded import rounded_answers

    logger.info("proving %s rounded after every node, as accelerators do", file.title)
    batch = min(file.buckets, key=lambda bucket: abs(bucket - ROUNDED_BATCH))
    images = reference.images
    golden = HeldImages("golden", reference.golden_pixels)
    batches = chain(images.batches(batch), golden.batches(batch))
    pixels = progress(batches, len(images) + len(golden), f"{file.title}, rounded")
    actual = rounded_answers(root / file.path, pixels, batch, optimized=optimized)
    if not np.isfinite(actual).all():
        raise PrecisionError(
            f"{file.title}: a value between two nodes is beyond 65504, where float16 ends, so "
            f"nothing was exported. Leave fp16 out of --precision"
        )
    expected = np.concatenate([reference.expected, reference.golden.probabilities()])
    return float(np.abs(actual.astype(np.float64) - expected).max())


def _own_answers(file: ModelFile, run: _Run, golden: Probabilities) -> FileAnswers:
    distance = float(np.abs(run.golden.astype(np.float64) - golden).max())
    return FileAnswers(
        format=file.format,
        precision=file.precision,
        runtime=run.runner.runtime,
        tolerance=own_tolerance(file.precision, distance),
        probabilities=run.golden.tolist(),
    )
