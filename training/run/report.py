"""metrics.jsonl, one line per epoch, and the same drawn as training.png."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.errors import CheckpointError
from training.writing import replace_text, writing

log = logging.getLogger(__name__)

JSONL, PNG = "metrics.jsonl", "training.png"
PANELS: dict[str, Callable[["EpochRecord"], float | None]] = {
    "loss": lambda record: record.loss,
    "learning rate": lambda record: record.lr,
    "top-1": lambda record: record.top1,
}


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
    skipped_steps: int = Field(0, description="whose gradients overflowed")
    loss_scale: float = Field(1.0, description="at the end of the epoch")

    def line(self) -> str:
        """Return the epoch as a line of the log."""
        line = (
            f"epoch {self.epoch}: loss {self.loss:.4f}, {self.images_per_second:.0f} img/sec, "
            f"waited for data {self.data_wait_share:.2%} of the time"
        )
        if self.skipped_steps:
            line += f", {self.skipped_steps} steps overflowed, loss scale {self.loss_scale:g}"
        return line


class Report:
    """Keeps both files of a run folder up to date."""

    def __init__(self, folder: Path) -> None:
        self._jsonl, self._png = folder / JSONL, folder / PNG
        self._records: list[EpochRecord] = []

    def resume(self, epoch: int) -> None:
        """Take up the records of a run that goes on after so many epochs; drop what came later.

        Raises CheckpointError where the file holds something else, OutputError as `add` does.
        """
        if self._jsonl.exists():
            self._records = [record for record in _read(self._jsonl) if record.epoch <= epoch]
            self._write()

    def add(self, record: EpochRecord) -> None:
        """Redraw the picture, then add the line: who sees the line finds the picture.

        Raises OutputError where they cannot be written; the earlier lines are as they were.
        """
        self._records.append(record)
        with writing(self._png):
            self._draw()
        self._write()

    def _write(self) -> None:
        with writing(self._jsonl):
            lines = [f"{record.model_dump_json()}\n" for record in self._records]
            replace_text(self._jsonl, "".join(lines))

    def _draw(self) -> None:
        figure = Figure(figsize=(12, 3.5), layout="constrained")
        for axes, (title, value) in zip(figure.subplots(1, 3), PANELS.items(), strict=True):
            points = [(r.epoch, value(r)) for r in self._records if value(r) is not None]
            axes.plot(*zip(*points, strict=True) if points else ([], []), marker=".")
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
                    f"{path}: line {number} is no epoch; remove it to resume: {error}"
                ) from error
            log.warning(f"{path}: line {number}, the last, was cut short and is left out")
