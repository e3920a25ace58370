"""Batches of pixels, made ahead of time in processes; they do not depend on the number of these."""

import logging
import pickle
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cli.cores import usable_cores
from images.decoders import ImageError, Pixels
from training.data.dataset import Dataset, naming_broken
from training.data.prefetch import Indices
from training.data.processes import ProcessDiedError, Processes
from training.data.worker import NOWHERE, Layout, Task, Work
from training.errors import WorkerError
from training.settings.config import CommonConfig

AHEAD = 4  # batches that are under way at a time
# Images of a message: few, so that all workers end together, but a message costs as much as one.
TOGETHER = 4
# Pixels that are kept take no more.
KEPT_BYTES = 2**29

logger = logging.getLogger(__name__)


class Made(NamedTuple):
    """A batch of images, their pixels, uint8 (N, height, width, 3), and the rows without any.

    The pixels may be changed, and are valid until the next batch is taken.
    """

    indices: Indices
    pixels: Pixels
    broken: list[int]


@dataclass
class _UnderWay:
    """A batch that is being made, its first place, and the places that are missing."""

    made: Made
    first: int
    missing: set[int]


class Workers:
    """Makes pixels of a dataset's images in `worker_count` processes; if that is 0, in this one.

    The processes start with the first batch. If one dies, that is an error and the others are
    ended: a new one would die of the same image, or of the same lack of memory, and to leave the
    image out would be another run than the one that was asked for.

    Args:
        dataset: the images.
        size: height and width of the pixels.
        batch_size: the most images of a batch.
        config: says how many processes.
        keep: whether to keep the pixels if all of them are few enough. The work must be the same
            in each call then.
    """

    def __init__(
        self,
        dataset: Dataset,
        size: tuple[int, int],
        batch_size: int,
        config: CommonConfig,
        *,
        keep: bool,
    ) -> None:
        self._dataset, self._batch_size, self._size = dataset, batch_size, size
        self._layout = Layout(worker_count(dataset, config), AHEAD * batch_size, *size)
        self._processes: Processes | None = None
        self._keep = keep and len(dataset) * size[0] * size[1] * 3 <= KEPT_BYTES
        self._kept: dict[int, Pixels] = {}

    def batches(self, work: Work, batches: Iterable[Indices]) -> Iterator[Made]:
        """Yield what the work makes of the images of each batch, in order.

        Raises WorkerError if a process has died.
        """
        if self._layout.workers:
            return self._apart(work, iter(batches))
        return (self._here(work, indices) for indices in batches)

    def one(self, work: Work, index: int) -> Pixels:
        """Return what the work makes of an image; raise BrokenImageError that names it."""
        with naming_broken(self._dataset, index):
            return work(self._dataset.stored(index), index)

    def _here(self, work: Work, indices: Indices) -> Made:
        made = Made(indices, np.empty((len(indices), *self._size, 3), np.uint8), [])
        for row, index in enumerate(indices.tolist()):
            if not self._is_kept(made, row):
                try:
                    made.pixels[row] = work(self._dataset.stored(index), index)
                except (OSError, ImageError):
                    made.broken.append(row)
                else:
                    self._keep_row(made, row)
        return made

    def _apart(self, work: Work, batches: Iterator[Indices]) -> Iterator[Made]:
        processes, pickled = self._started(), pickle.dumps(work)
        free = deque(range(0, self._layout.places, self._batch_size))
        under_way: dict[int, _UnderWay] = {}
        try:
            while True:
                while free and (indices := next(batches, None)) is not None:
                    first = free.popleft()
                    under_way[first] = self._request(processes, pickled, indices, first)
                if not under_way:
                    return
                first, batch = next(iter(under_way.items()))
                while batch.missing:
                    self._receive(processes, under_way)
                batch.made.broken.sort()
                yield batch.made
                del under_way[first]
                free.append(first)
        except ProcessDiedError as error:
            raise self._died(error, under_way) from error
        finally:
            if under_way:  # left early: what was asked for must not be written later
                processes.end()

    def _started(self) -> Processes:
        if self._processes is None or not self._processes.end.alive:
            logger.info("%d processes read the images", self._layout.workers)
            self._processes = Processes(self._layout)
        return self._processes

    def _request(
        self, processes: Processes, work: bytes, indices: Indices, first: int
    ) -> _UnderWay:
        made = Made(indices, processes.pixels[first : first + len(indices)], [])
        tasks = [
            Task(first + row, index, self._dataset.stored(index))
            for row, index in enumerate(indices.tolist())
            if not self._is_kept(made, row)
        ]
        for start in range(0, len(tasks), TOGETHER):
            processes.request(pickle.dumps((work, tasks[start : start + TOGETHER])))
        return _UnderWay(made, first, {task.place for task in tasks})

    def _receive(self, processes: Processes, under_way: dict[int, _UnderWay]) -> None:
        for message in processes.answers():
            for place, succeeded in pickle.loads(message):  # noqa: S301 - from our own processes
                batch = under_way[place - place % self._batch_size]
                batch.missing.remove(place)
                if succeeded:
                    self._keep_row(batch.made, place - batch.first)
                else:
                    batch.made.broken.append(place - batch.first)

    def _is_kept(self, made: Made, row: int) -> bool:
        """Return whether the pixels of a row are known; they are then in it."""
        known = self._kept.get(int(made.indices[row]))
        if known is None:
            return False
        made.pixels[row] = known
        return True

    def _keep_row(self, made: Made, row: int) -> None:
        if self._keep:
            self._kept[int(made.indices[row])] = made.pixels[row].copy()

    def _died(self, error: ProcessDiedError, under_way: dict[int, _UnderWay]) -> WorkerError:
        who = "a process that reads images"
        if error.place != NOWHERE:
            batch = under_way[error.place - error.place % self._batch_size]
            index = int(batch.made.indices[error.place - batch.first])
            who = f"the process that read {self._dataset.name(index)}"
        return WorkerError(
            f"{who} {error.how}; a smaller --num-workers takes less memory, and with 0 no other "
            f"process reads images"
        )


def worker_count(dataset: Dataset, config: CommonConfig) -> int:
    """Return how many processes read a dataset for this one: none if it is held in memory."""
    if dataset.is_in_memory:
        return 0
    if config.num_workers is not None:
        return config.num_workers
    return max(1, usable_cores().usable // config.group_size)
