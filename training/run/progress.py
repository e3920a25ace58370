"""Progress with a time to go: a bar on a terminal, and a plain line every few steps."""

import logging
import time
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from training.terminal import CONSOLE

log = logging.getLogger(__name__)


class Progress:
    """Counts the steps of a run; a context manager, within which the bar is shown."""

    def __init__(self, total_steps: int, log_interval: int) -> None:
        self._total, self._interval = total_steps, log_interval
        self._first = self._done = 0
        self._start = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        times = (TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn())
        self._bar = Bar(*columns, *times, console=CONSOLE, disable=not CONSOLE.is_terminal)
        self._task = self._bar.add_task("training", total=total_steps)

    def __enter__(self) -> Self:
        self._start = time.monotonic()
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    @property
    def due(self) -> bool:
        """Whether this step gets a line."""
        return self._done % self._interval == 0

    def resume(self, step: int) -> None:
        """Begin after so many steps, which another process has done."""
        self._first = self._done = step
        self._bar.update(self._task, completed=step)

    def advance(self) -> None:
        """Count a step."""
        self._done += 1
        self._bar.update(self._task, completed=self._done)

    def line(self, epoch: int, loss: float, lr: float, batch_size: int) -> None:
        """Log where the run is: loss, learning rate, images per second, time to go."""
        per_step = (time.monotonic() - self._start) / (self._done - self._first)
        eta = timedelta(seconds=round((self._total - self._done) * per_step))
        log.info(
            f"epoch {epoch} step {self._done}/{self._total} loss {loss:.4f} lr {lr:.5f} "
            f"{batch_size / per_step:.0f} img/sec, {eta} to go"
        )
