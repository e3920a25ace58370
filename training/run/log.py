"""The log: lines on stdout as the upstream's, on a terminal above a progress bar."""

import logging
import time
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

CONSOLE = Console()
FORMAT = "%(asctime)s:%(levelname)s:%(message)s"

logger = logging.getLogger(__name__)


def log_to_stdout() -> None:
    """Write messages of level INFO and above to stdout."""
    handler = LinesAboveTheBar() if CONSOLE.is_terminal else logging.StreamHandler(CONSOLE.file)
    logging.basicConfig(level="INFO", format=FORMAT, handlers=[handler])


class LinesAboveTheBar(logging.Handler):
    """Writes to a terminal, each message as it is, whatever the width."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        CONSOLE.print(
            self.format(record), markup=False, emoji=False, highlight=False, soft_wrap=True
        )


class Progress:
    """Counts the steps of a run and estimates its end; as a context manager it shows the bar."""

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
        """Whether this step gets a line of the log."""
        return self._done % self._interval == 0

    def resume(self, step: int) -> None:
        """Begin after this many steps, which an earlier process has done."""
        self._first = self._done = step
        self._bar.update(self._task, completed=step)

    def advance(self) -> None:
        """Count a step."""
        self._done += 1
        self._bar.update(self._task, completed=self._done)

    def line(self, epoch: int, loss: float, lr: float, batch_size: int) -> None:
        """Log the position of the run, loss, learning rate, images per second and time to go."""
        seconds_per_step = (time.monotonic() - self._start) / (self._done - self._first)
        eta = timedelta(seconds=round((self._total - self._done) * seconds_per_step))
        logger.info(
            "epoch %d step %d/%d loss %.4f lr %.5f %.0f img/sec, %s to go",
            epoch,
            self._done,
            self._total,
            loss,
            lr,
            batch_size / seconds_per_step,
            eta,
        )
