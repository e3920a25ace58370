"""How near a converted file comes, found without the framework that the original runs in."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from bundle.golden import prove_pixels
from bundle.manifest import ModelFile
from bundle.store import Bundle
from export.errors import ExportError
from export.evaluation.image_sets import Fingerprint, open_images
from export.parity.compare import Runner, compare, open_runner
from export.parity.record import FileParity, read_parity
from export.progress import progress


class Measured(NamedTuple):
    """A converted file and its row in the parity record."""

    file: ModelFile
    parity: FileParity
    largest: float

    def allowing(self, tolerance: float) -> "Measured":
        """Return the same with another tolerance."""
        update = {"tolerance": tolerance}
        file, parity = self.file.model_copy(update=update), self.parity.model_copy(update=update)
        return Measured(file, parity, self.largest)


def measure(
    bundle: Bundle, source: ModelFile, file: ModelFile, runner: Runner, images: Path | None
) -> Measured:
    """Compare a file with the original on the golden images, and with its source on `images`.

    Args:
        bundle: what was converted.
        source: the file that was converted.
        file: what it became.
        runner: the same in its runtime.
        images: the evaluation data of the bundle's record; None for the golden images alone.

    Raises:
        ExportError: the images are others.
    """
    golden, pixels = prove_pixels(bundle)
    on_golden = compare(file, runner, runner.predict(pixels), golden.probabilities(), None)
    if images is None:
        on_golden = on_golden.model_copy(update={"compared_with": "golden"})
        return Measured(file, on_golden, on_golden.largest_difference)
    parity = _on_images(bundle, source, file, runner, images)
    return Measured(file, parity, max(parity.largest_difference, on_golden.largest_difference))


def _on_images(
    bundle: Bundle, source: ModelFile, file: ModelFile, runner: Runner, folder: Path
) -> FileParity:
    images = open_images(folder, bundle.manifest.labels, bundle.manifest.transform)
    reference = open_runner(bundle.path, bundle.manifest, source, "cpu")
    fingerprint, expected, actual = Fingerprint(), [], []
    batches = fingerprint.of(images.batches(max(file.buckets)))
    for pixels in progress(batches, len(images), file.path):
        expected.append(reference.predict(pixels))
        actual.append(runner.predict(pixels))
    if fingerprint.hexdigest(images.labels) != read_parity(bundle.path).images_sha256:
        raise ExportError(
            f"--images {folder}: these are not the images that the bundle was evaluated on; leave "
            f"--images out to compare with the golden images alone"
        )
    parity = compare(file, runner, np.concatenate(actual), np.concatenate(expected), images.labels)
    return parity.model_copy(update={"compared_with": "onnx"})
