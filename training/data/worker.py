"""`python -m training.data.worker`: a process that makes the pixels of images; `Workers` start it.

It takes one message after another from a socket that all workers share, writes pixels into memory
that they share too, and answers which are there. There is no lock that it could hold when it is
killed. It ends when its parent does.
"""

import functools
import mmap
import pickle
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from images.decoders import ImageError, Pixels, configure
from training.data.dataset import StoredImage

# Makes uint8 (height, width, 3) of an image and its index, and of nothing else that may change.
Work = Callable[[StoredImage, int], Pixels]
# The largest message; images of a message have a path each, of 4096 bytes at most.
MESSAGE_BYTES = 2**16
NOWHERE = -1


class Task(NamedTuple):
    """An image, by its number in the dataset, whose pixels are wanted at a place of the memory."""

    place: int
    number: int
    image: StoredImage


@dataclass(frozen=True, slots=True)
class Layout:
    """What the shared memory holds: the place where each worker is, and `places` for pixels."""

    workers: int
    places: int
    height: int
    width: int

    @property
    def nbytes(self) -> int:
        """Size of the memory, in bytes."""
        return 8 * self.workers + self.places * self.height * self.width * 3

    def views(self, memory: mmap.mmap) -> tuple[NDArray[np.int64], Pixels]:
        """Return int64 (workers,) and uint8 (places, height, width, 3) in the memory."""
        at = np.frombuffer(memory, np.int64, self.workers)
        pixels = np.frombuffer(memory, np.uint8, offset=8 * self.workers)
        return at, pixels.reshape(self.places, self.height, self.width, 3)


def main(tasks_fd: int, answers_fd: int, memory_fd: int, own: int, *layout: int) -> None:
    """Make pixels until the parent has closed its end, or ended; this is worker number `own`."""
    configure()
    # A stop is the parent's to handle: it may be sent to every process of a job.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    shared = Layout(*layout)
    at, pixels = shared.views(mmap.mmap(memory_fd, shared.nbytes))
    requests, answers = (socket.socket(fileno=number) for number in (tasks_fd, answers_fd))
    with requests, answers, suppress(ConnectionError):
        while message := requests.recv(MESSAGE_BYTES):
            work, tasks = pickle.loads(message)  # noqa: S301 - from the parent
            made = []
            for task in tasks:
                at[own] = task.place
                made.append((task.place, _make(pixels[task.place], _unpickled(work), task)))
            at[own] = NOWHERE
            answers.send(pickle.dumps(made))


def _make(target: Pixels, work: Work, task: Task) -> bool:
    """Return whether the image could be read; if not, the parent tries too, and says why not."""
    try:
        target[:] = work(task.image, task.number)
    except (OSError, ImageError):
        return False
    return True


@functools.lru_cache(maxsize=2)
def _unpickled(work: bytes) -> Work:
    made: Work = pickle.loads(work)  # noqa: S301 - from the parent
    return made


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
