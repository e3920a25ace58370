"""What a user sees of a run: a bar on a terminal, or a line now and then."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TimeRemainingColumn,
)
from rich.text import Text

# Between two lines where there is no terminal, in seconds.
LINE_S = 10.0


@contextmanager
def progress(images: int, done: int) -> Iterator[Callable[[int], None]]:
    """Show how far a run is, on standard error; yield what to tell of images that are answered.

    Args:
        images: of the whole run.
        done: of them, before it.
    """
    console = Console(stderr=True, highlight=False, markup=False)
    if console.is_terminal:
        columns = BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn()
        with Progress("images", *columns, console=console) as bar:
            task = bar.add_task("images", total=images, completed=done)
            yield lambda count: bar.advance(task, count)
    else:
        yield _Lines(console, images, done)


class Meter:
    """How fast images are answered once the first are; any thread may call.

    Args:
        tell: is told of them, too.
    """

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell, self._lock = tell, threading.Lock()
        self._first = self._last = 0.0
        self._images = 0  # after the first

    def __call__(self, count: int) -> None:
        """Note that so many more have been answered."""
        with self._lock:
            self._last = time.monotonic()
            if not self._first:
                self._first = self._last
            else:
                self._images += count
        self._tell(count)

    @property
    def images_per_second(self) -> float | None:
        """None if too few were answered."""
        seconds = self._last - self._first
        return self._images / seconds if seconds else None


class _Speed(ProgressColumn):
    """Images per second, lately."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.1f} img/s")


class _Lines:
    """Prints a line if the last one is some time ago; any thread may call."""

    def __init__(self, console: Console, images: int, done: int) -> None:
        self._console, self._images, self._done = console, images, done
        self._before, self._started = done, time.monotonic()
        self._last, self._lock = self._started, threading.Lock()

    def __call__(self, count: int) -> None:
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._last < LINE_S:
                return
            self._last = now
            speed = (self._done - self._before) / (now - self._started)
            left_s = (self._images - self._done) / speed
        self._console.print(
            f"{self._done} of {self._images} images, {speed:,.1f} img/s, {left_s:,.0f} s left",
            soft_wrap=True,
        )
