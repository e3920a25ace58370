"""What a run reports: metrics.jsonl, one line per epoch, and the same drawn as training.png."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import numpy as np
from matplotlib.figure import Figure
from mindspore import Tensor
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.checkpoint.checkpoints import Arrays
from training.errors import CheckpointError, DivergedError, writing
from training.metrics import Metrics

logger = logging.getLogger(__name__)

JSONL, PNG = "metrics.jsonl", "training.png"
LOSSES, FINITE = "losses", "finite"
# Titles, and the lines of each.
PANELS: dict[str, dict[str, Callable[["EpochRecord"], float | None]]] = {
    "loss": {"training": lambda record: record.loss, "test": lambda record: record.eval_loss},
    "learning rate": {"": lambda record: record.lr},
    "top-1": {"": lambda record: record.top1},
}


class EpochHistory:
    """Loss of each step of an epoch, and whether its gradients were finite.

    They stay on the device until they are asked for, so that no step waits for another.
    """

    def __init__(self) -> None:
        self._losses: list[Tensor | float] = []
        self._finite: list[Tensor | float] = []

    @classmethod
    def take_from(cls, state: Arrays) -> Self:
        """Return the history that `arrays` wrote into a state, and remove it there."""
        history = cls()
        history._losses = state.pop(LOSSES).tolist()
        history._finite = state.pop(FINITE).tolist()
        return history

    def arrays(self) -> Arrays:
        """Return what `take_from` takes, float32 (steps,) each."""
        return {LOSSES: _floats(self._losses), FINITE: _floats(self._finite)}

    def add(self, loss: Tensor, finite: Tensor) -> None:
        """Add a step: its loss, and whether its gradients were finite."""
        self._losses.append(loss)
        self._finite.append(finite)

    @property
    def latest_loss(self) -> float:
        """Loss of the latest step; raise DivergedError if it is not a number."""
        return _number(float(self._losses[-1]))

    @property
    def skipped_steps(self) -> int:
        """Number of steps that were skipped because a gradient overflowed."""
        return int((_floats(self._finite) == 0).sum())

    def mean_loss(self) -> float:
        """Mean loss of the steps not skipped; raise DivergedError if it is not a number."""
        losses = _floats(self._losses)[_floats(self._finite) != 0]
        if not len(losses):
            raise DivergedError(
                "gradients overflowed in every step of the epoch; lower --lr or --loss-scale"
            )
        return _number(float(losses.astype(np.float64).mean()))


class EpochRecord(BaseModel):
    """One epoch: mean training loss, last learning rate, speed, and accuracy if evaluated."""

    model_config = ConfigDict(frozen=True)

    epoch: int
    step: int
    loss: float
    lr: float
    seconds: float
    images_per_second: float
    data_wait_share: float
    top1: float | None
    top5: float | None
    eval_loss: float | None = Field(None, description="of the test images, labels not smoothed")
    skipped_steps: int = Field(0, description="whose gradients overflowed")
    loss_scale: float = Field(1.0, description="at the end of the epoch")
    untracked: int = Field(0, description="earlier epochs that the tracker has not taken")

    def line(self) -> str:
        """Return the epoch as a line of the log."""
        line = (
            f"epoch {self.epoch}: loss {self.loss:.4f}, {self.images_per_second:.0f} img/sec, "
            f"waited for data {self.data_wait_share:.2%} of the time"
        )
        if self.eval_loss is not None:
            line += f", test loss {self.eval_loss:.4f}"
        if self.skipped_steps:
            line += f", {self.skipped_steps} steps overflowed, loss scale {self.loss_scale:g}"
        if self.untracked:
            line += f", {self.untracked} epochs before it not tracked"
        return line


class Report:
    """Keeps both files of a run folder up to date."""

    def __init__(self, folder: Path) -> None:
        self._jsonl, self._png = folder / JSONL, folder / PNG
        self._records: list[EpochRecord] = []

    def resume(self, epoch: int) -> None:
        """Take over the records of a run that continues after this epoch; drop later ones.

        Raises CheckpointError if the file holds anything else, OutputError as `add` does.
        """
        if self._jsonl.exists():
            self._records = [record for record in _read(self._jsonl) if record.epoch <= epoch]
            self._write()

    def add(self, record: EpochRecord) -> None:
        """Redraw the picture, then add the line: once the line is there, so is the picture.

        Raises OutputError if they cannot be written; the earlier lines stay as they are.
        """
        self._records.append(record)
        with writing(self._png):
            self._draw()
        self._write()

    def evaluated(self, metrics: Metrics) -> EpochRecord:
        """Add an evaluation to the last epoch and return that; raise as `add` does."""
        found = {"top1": metrics.top1, "top5": metrics.top5, "eval_loss": metrics.loss}
        record = self._records.pop().model_copy(update=found)
        self.add(record)
        return record

    def _write(self) -> None:
        with writing(self._jsonl):
            lines = [f"{record.model_dump_json()}\n" for record in self._records]
            # Replaced as a whole, so that a killed process leaves the old file or the new one.
            new = self._jsonl.with_name(f"{JSONL}.new")
            new.write_text("".join(lines))
            new.replace(self._jsonl)

    def _draw(self) -> None:
        figure = Figure(figsize=(12, 3.5), layout="constrained")
        for axes, (title, lines) in zip(figure.subplots(1, 3), PANELS.items(), strict=True):
            for label, value in lines.items():
                points = [(r.epoch, value(r)) for r in self._records if value(r) is not None]
                xy = zip(*points, strict=True) if points else ([], [])
                axes.plot(*xy, marker=".", label=label)
            if len(lines) > 1:
                axes.legend()
            axes.set(title=title, xlabel="epoch")
            axes.grid(alpha=0.3)
        figure.savefig(self._png, dpi=100)


def _read(path: Path) -> Iterator[EpochRecord]:
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            yield EpochRecord.model_validate_json(line)
        except ValidationError as error:
            if number < len(lines):
                raise CheckpointError(
                    f"{path}: line {number} is not an epoch; remove it to resume: {error}"
                ) from error
            logger.warning("%s: line %d, the last, was cut short and is left out", path, number)


def _number(loss: float) -> float:
    if not np.isfinite(loss):
        raise DivergedError(f"the loss is {loss}; lower --lr")
    return loss


def _floats(values: list[Tensor | float]) -> NDArray[np.float32]:
    return np.array([float(value) for value in values], np.float32)
