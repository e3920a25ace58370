"""The accuracy of a bundle's files, measured again.

The rule: on the recorded evaluation set, known by the fingerprint of its pixels and classes, fp32
files give exactly the recorded counts. Files of a reduced precision, whose kernels differ between
processors, come within half a percent of the images. On any set, every file agrees with the first
fp32 file as closely as it did with the original when it was exported.
"""

from collections.abc import Iterator

from bundle.manifest import ModelFile
from export.evaluation.image_sets import EvaluationSet, Fingerprint, Probabilities
from export.parity.compare import Runner, compare
from export.parity.record import FileParity, Parity
from export.progress import progress

REDUCED_SLACK = 0.005


class Remeasurement:
    """Runs one file after the other on the same images; an fp32 file should come first."""

    def __init__(self, images: EvaluationSet, record: Parity) -> None:
        self.images, self._record = images, record
        self._recorded = {file.path: file for file in record.files}
        self._reference: tuple[ModelFile, Probabilities] | None = None
        self.is_recorded_set = False

    def measure(self, file: ModelFile, runner: Runner) -> FileParity:
        """Return accuracy, and the difference from the reference, which the first fp32 file is.

        A file without a reference is compared with itself. Raises `ParityError`.
        """
        fingerprint, labels = Fingerprint(), self.images.labels
        batches = fingerprint.of(self.images.batches(max(file.buckets)))
        answers = runner.answers(progress(batches, len(self.images), file.path))
        self.is_recorded_set = fingerprint.hexdigest(labels) == self._record.images_sha256
        if self._reference is None and file.precision == "fp32":
            self._reference = file, answers
        expected = self._reference[1] if self._reference else answers
        return compare(file, runner, answers, expected, labels)

    @property
    def reference(self) -> str | None:
        """Path of the file that the others are compared with."""
        return self._reference[0].path if self._reference else None

    def problems(self, measured: FileParity) -> Iterator[str]:
        """Yield what does not hold."""
        recorded = self._recorded.get(measured.path)
        allowed = self._allowed(measured, recorded)
        if measured.largest_difference > allowed:
            yield (
                f"{measured.path}: a probability differs by {measured.largest_difference:.3g} from "
                f"that of the fp32 file; the bundle allows {allowed:.3g}"
            )
        if self.is_recorded_set and recorded is not None:
            yield from _other_counts(measured, recorded, self._record.images)

    def _allowed(self, measured: FileParity, recorded: FileParity | None) -> float:
        reference = self._reference[0].tolerance if self._reference else 0.0
        return reference + max(measured.tolerance, recorded.largest_difference if recorded else 0.0)


def _other_counts(measured: FileParity, recorded: FileParity, images: int) -> Iterator[str]:
    slack = 0 if measured.precision == "fp32" else int(REDUCED_SLACK * images)
    assert measured.scores is not None
    assert recorded.scores is not None
    for field in ("top1_correct", "top5_correct"):
        counted, stated = getattr(measured.scores, field), getattr(recorded.scores, field)
        if abs(counted - stated) > slack:
            yield (
                f"{measured.path}: {field} is {counted} of {images} images, but {stated} was "
                f"recorded; {measured.precision} may differ by {slack}"
            )
