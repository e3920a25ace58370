"""int8 within an accuracy bound: the best calibration, and sensitive layers kept in float."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from export.errors import PrecisionError
from export.evaluation_set import (
    Classes,
    EvaluationSet,
    HeldImages,
    ImageSet,
    Probabilities,
    padded,
)
from export.original import INPUT, OUTPUT
from export.precision.cost import HeldOut, Method, Quantization, told_too_few
from export.precision.quantizer import METHODS, Quantizer
from export.precision.training_images import split
from images.transform import Pixels
from serving.backends.ort.library import onnxruntime

# With more of its layers in float, a file is not worth the name int8.
LARGEST_PART_IN_FLOAT = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Int8Task:
    """What int8 is measured on, and what it may cost.

    `folder` holds training images, `batch` of them run at once, `first` is the class that the
    original gives to each image of the evaluation set, and top-1 may fall by `max_drop` percentage
    points.
    """

    folder: Path
    evaluation: EvaluationSet
    first: Classes
    max_drop: float
    batch: int

    @property
    def right(self) -> Classes:
        """What counts as right of the evaluation set: the original's answer to photos alone.

        Then the drop is the part of the photos whose first class changes, and accuracy, which
        nobody knows, cannot fall by more.
        """
        return self.first if self.evaluation.labels is None else self.evaluation.labels


def write_int8(source: Path, target: Path, task: Int8Task) -> tuple[Quantization, HeldOut]:
    """Write an int8 copy of a float32 deployment graph whose accuracy is within the bound.

    Returns:
        How it was made, and images to measure it on besides the evaluation set.

    Raises:
        PrecisionError: no such copy was found; the message shows what was tried.
        ExportError, TrainingError: there are no training images.
    """
    calibration, held_out = split(task.folder, task.evaluation)
    with TemporaryDirectory(prefix="int8-") as scratch:
        logger.info("calibrating int8 on %d training images", len(calibration))
        quantizer = Quantizer(source, Path(scratch), calibration, task.batch)
        search = _Search(source, target, quantizer, calibration, held_out, task)
        return search.run(), HeldOut(held_out.pixels, search.fp32)


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
        first = self.fp32.argmax(axis=1)
        self.right = first if held_out.labels is None else held_out.labels
        self.fp32_correct = _correct(first, self.right)
        self.tried: dict[int, list[float]] = {}

    def run(self) -> Quantization:
        """Keep as few layers in float as meet the bound, the most sensitive first."""
        logger.info("int8: %s calibration is the most accurate", self.method)
        most = int(LARGEST_PART_IN_FLOAT * len(self.quantizer.layers))
        count = fewest(most, self._suffices)
        if count is None:
            raise self._costs_too_much(most)
        if count != list(self.tried)[-1]:
            self._write(count)
        return self._report(count)

    @cached_property
    def scores(self) -> dict[Method, tuple[int, float]]:
        """How good each method of calibration is: images right, then closeness to fp32."""
        scores = {}
        for number, method in enumerate(METHODS, 1):
            logger.info("int8: calibrating by %s, %d of %d", method, number, len(METHODS))
            scores[method] = self._score(method)
        return scores

    @cached_property
    def method(self) -> Method:
        """The best method of calibration."""
        return max(self.scores, key=lambda method: self.scores[method])

    @cached_property
    def ranking(self) -> list[str]:
        """The layers by what int8 does to each one's output, worst first."""
        logger.info("int8: ranking %d layers", len(self.quantizer.layers))
        noise = self.quantizer.noise(self.method)
        return sorted(noise, key=lambda layer: -noise[layer])

    def _kept(self, count: int) -> list[str]:
        return self.ranking[:count] if count else []

    def _write(self, count: int) -> None:
        self.quantizer.write(self.target, self.method, kept=self._kept(count))

    def _suffices(self, count: int) -> bool:
        """Write the file with `count` layers in float; return whether it is within the bound."""
        self._write(count)
        self.tried[count] = list(self._drops())
        logger.info(
            "int8: top-1 lost with %d layers in float, in points, on held-out training images and "
            "on the evaluation set: %s",
            count,
            self._lost(count),
        )
        return self.tried[count][-1] <= self.task.max_drop

    def _describe(self, count: int) -> str:
        return f"{count} in float: {self._lost(count)}"

    def _lost(self, count: int) -> str:
        return " and ".join(f"{drop:.2f}" for drop in self.tried[count])

    def _costs_too_much(self, most: int) -> PrecisionError:
        tried = "; ".join(self._describe(count) for count in sorted(self.tried))
        fewest_images = min(len(self.held_out), len(self.task.evaluation))
        least = min(drops[-1] for drops in self.tried.values())
        return PrecisionError(
            f"int8 costs more top-1 accuracy than --max-accuracy-drop allows, "
            f"{self.task.max_drop:g} percentage points, even with {most} of "
            f"{len(self.quantizer.layers)} layers in float, so nothing was exported. Percentage "
            f"points lost on {len(self.held_out)} held-out training images, and on the evaluation "
            f"set if those were within the bound, by layers {tried}"
            f"{told_too_few(fewest_images, self.task.max_drop, least)}"
        )

    def _score(self, method: Method) -> tuple[int, float]:
        self.quantizer.write(self.target, method, kept=[])
        actual = self._answers(self.held_out)
        closeness = -float(np.abs(actual - self.fp32).mean())
        return _correct(actual.argmax(axis=1), self.right), closeness

    def _drops(self) -> Iterator[float]:
        """Yield the percentage points of top-1 lost, held-out first; a bad file stops there."""
        drop = self._drop(self.held_out, self.right, self.fp32_correct)
        yield drop
        if drop <= (task := self.task).max_drop:
            yield self._drop(task.evaluation, task.right, _correct(task.first, task.right))

    def _drop(self, images: ImageSet, right: Classes, fp32_correct: int) -> float:
        first = self._answers(images).argmax(axis=1)
        return 100 * (fp32_correct - _correct(first, right)) / len(images)

    def _answers(self, images: ImageSet) -> Probabilities:
        batch = self.task.batch
        return answers(self.target, images.batches(batch), batch)

    def _report(self, count: int) -> Quantization:
        return Quantization(
            method=self.method,
            calibration_images=len(self.calibration),
            held_out_images=len(self.held_out),
            held_out_correct={method: score[0] for method, score in self.scores.items()},
            held_out_fp32_correct=self.fp32_correct,
            layers=len(self.quantizer.layers),
            kept_in_float=self._kept(count),
            accuracy_drop=self.tried[count][-1],
            max_accuracy_drop=self.task.max_drop,
            by_agreement=self.task.evaluation.labels is None,
        )


def _correct(first: Classes, right: Classes) -> int:
    return int((first == right).sum())


def fewest(most: int, suffices: Callable[[int], bool]) -> int | None:
    """Return the smallest of 0, 1, ..., most that suffices, None if `most` does not.

    If a number suffices, larger ones are taken to suffice as well. So doubling finds a bound, and
    bisection the number, after about 2 * log2(number) trials.
    """
    failed, bound = -1, 0
    while not suffices(bound):
        if bound == most:
            return None
        failed, bound = bound, min(max(1, 2 * bound), most)
    while bound - failed > 1:
        middle = (failed + bound) // 2
        failed, bound = (failed, middle) if suffices(middle) else (middle, bound)
    return bound


def answers(
    path: Path, batches: Iterable[Pixels], batch: int, *, optimized: bool = True
) -> Probabilities:
    """Return float32 (n, classes) of an ONNX file, in ONNX Runtime on the CPU.

    Each of `batches` is uint8 (at most batch, height, width, 3); always `batch` images run at
    once, padded with zeros, because some files run nothing else. What is not `optimized` runs node
    by node, as the file has them.
    """
    options = onnxruntime.SessionOptions()
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    rows = []
    for pixels in batches:
        [probabilities] = session.run([OUTPUT], {INPUT: padded(pixels, batch)})
        rows.append(probabilities[: len(pixels)])
    return np.concatenate(rows)
