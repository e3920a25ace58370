"""int8 as accurate as asked for: the best calibration, and sensitive layers kept in float."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from export.contract.transform import Pixels
from export.errors import PrecisionError
from export.evaluation import EvaluationSet, Probabilities
from export.precision.calibration import METHODS
from export.precision.quantizer import Quantizer
from export.precision.report import Method, Quantization
from export.precision.session import answers
from export.precision.training_images import HeldImages, split

RANKING_IMAGES = 256
# A file with more of its layers in float is no int8 file.
LARGEST_PART_IN_FLOAT = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Int8Task:
    """What int8 is measured on, and what it may cost.

    `folder` holds training images, `batch` are run at once, the original got `correct` images of
    the evaluation set right, and top-1 may fall by `max_drop` points of a hundred.
    """

    folder: Path
    evaluation: EvaluationSet
    correct: int
    max_drop: float
    batch: int


def write_int8(source: Path, target: Path, task: Int8Task) -> Quantization:
    """Write an int8 copy of a float32 deployment graph whose accuracy is within the bound.

    Raises:
        PrecisionError: no such copy was found; the message shows what was tried.
        ExportError, TrainingError: there are no training images.
    """
    calibration, held_out = split(task.folder, task.evaluation)
    with TemporaryDirectory(prefix="int8-") as scratch:
        logger.info("calibrating int8 on %d training images", len(calibration))
        quantizer = Quantizer(source, Path(scratch), calibration, task.batch)
        return _Search(source, target, quantizer, calibration, held_out, task).run()


class _Search:
    def __init__(
        self,
        source: Path,
        target: Path,
        quantizer: Quantizer,
        calibration: HeldImages,
        held_out: HeldImages,
        task: Int8Task,
    ) -> None:
        self.target, self.quantizer, self.task = target, quantizer, task
        self.calibration, self.held_out = calibration, held_out
        self.fp32 = answers(source, held_out.batches(task.batch), task.batch)
        self.fp32_correct = _correct(self.fp32, held_out)

    def run(self) -> Quantization:
        """Keep one more layer in float, the most sensitive first, until the bound is met."""
        scores = {method: self._score(method) for method in METHODS}
        method = max(scores, key=lambda m: scores[m])
        logger.info("int8: %s calibration is the most accurate", method)
        tried = []
        for kept in self._candidates(method):
            self.quantizer.write(self.target, method, kept=kept)
            drops = list(self._drops())
            tried.append(f"{len(kept)} in float: {' and '.join(f'{d:.2f}' for d in drops)}")
            logger.info("int8: layers %s points", tried[-1])
            if drops[-1] <= self.task.max_drop:
                return self._report(method, {m: s[0] for m, s in scores.items()}, kept, drops[-1])
        raise PrecisionError(
            f"int8 costs more top-1 accuracy than --max-accuracy-drop allows, "
            f"{self.task.max_drop:g} points, even with {len(kept)} of "
            f"{len(self.quantizer.layers)} layers in float, so nothing was exported. Points lost "
            f"on {len(self.held_out)} held-out training images, and on the evaluation set where "
            f"those were within the bound, by layers {'; '.join(tried)}"
        )

    def _score(self, method: Method) -> tuple[int, float]:
        """Return how good a method is: images right, then nearness to fp32."""
        self.quantizer.write(self.target, method, kept=[])
        actual = self._answers(self.held_out)
        return _correct(actual, self.held_out), -float(np.abs(actual - self.fp32).mean())

    def _candidates(self, method: Method) -> Iterator[list[str]]:
        """Yield layers to keep in float: none, then ever more of the most sensitive."""
        yield []
        ranking = self._ranking(method)
        for count in range(1, int(LARGEST_PART_IN_FLOAT * len(ranking)) + 1):
            yield ranking[:count]

    def _ranking(self, method: Method) -> list[str]:
        """Return the layers by what each one alone in int8 does to the answers, worst first."""
        effects, layers = {}, self.quantizer.layers
        for layer in layers:
            self.quantizer.write(self.target, method, kept=[o for o in layers if o != layer])
            actual = self._answers(self.held_out, RANKING_IMAGES)
            effects[layer] = float(np.abs(actual - self.fp32[: len(actual)]).mean())
        return sorted(effects, key=lambda layer: -effects[layer])

    def _drops(self) -> Iterator[float]:
        """Yield the points of top-1 lost, held-out first; a bad file stops there."""
        correct = _correct(self._answers(self.held_out), self.held_out)
        drop = 100 * (self.fp32_correct - correct) / len(self.held_out)
        yield drop
        if drop <= self.task.max_drop:
            judge = self.task.evaluation
            yield 100 * (self.task.correct - _correct(self._answers(judge), judge)) / len(judge)

    def _answers(
        self, images: EvaluationSet | HeldImages, limit: int | None = None
    ) -> Probabilities:
        batch = self.task.batch
        batches: Iterator[Pixels] = images.batches(batch)
        return answers(self.target, islice(batches, limit and -(-limit // batch)), batch)

    def _report(
        self, method: Method, correct: dict[Method, int], kept: list[str], drop: float
    ) -> Quantization:
        return Quantization(
            method=method,
            calibration_images=len(self.calibration),
            held_out_images=len(self.held_out),
            held_out_correct=correct,
            held_out_fp32_correct=self.fp32_correct,
            layers=len(self.quantizer.layers),
            kept_in_float=kept,
            accuracy_drop=drop,
            max_accuracy_drop=self.task.max_drop,
        )


def _correct(probabilities: Probabilities, images: EvaluationSet | HeldImages) -> int:
    return int((probabilities.argmax(axis=1) == images.labels[: len(probabilities)]).sum())
