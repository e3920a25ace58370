"""One image on its way through the engine."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from serving.backends import Probabilities
from serving.engine.sources import Source
from serving.errors import ServingError


class Timing(NamedTuple):
    """Where an image's time went, in seconds, and how many images ran in its batch."""

    admission: float
    decode: float
    queue: float
    infer: float
    total: float
    batch_images: int


class Prediction(NamedTuple):
    """An answer: float32 probabilities (classes,) in label order, and how long it took."""

    probabilities: Probabilities
    timing: Timing


Answer = Prediction | ServingError


@dataclass(slots=True, eq=False)
class ImageJob:
    """One image, its slot in the pixel pool, and the future that its caller waits for.

    All times are those of one monotonic clock, in seconds. The job knows no request and no gRPC.
    """

    source: Source
    slot: int
    deadline: float
    future: asyncio.Future[Answer]
    arrived: float
    decode_started: float = 0.0
    decoded: float = 0.0

    def is_dead(self, now: float) -> bool:
        """Whether nobody waits for the answer any more: cancelled or expired."""
        return now >= self.deadline or self.future.done()

    def timing(self, started: float, finished: float, batch_images: int) -> Timing:
        """Return the stages of a job whose batch ran from `started` to `finished`."""
        return Timing(
            admission=self.decode_started - self.arrived,
            decode=self.decoded - self.decode_started,
            queue=started - self.decoded,
            infer=finished - started,
            total=finished - self.arrived,
            batch_images=batch_images,
        )


def split(jobs: Iterable[ImageJob], now: float) -> tuple[list[ImageJob], list[ImageJob]]:
    """Return the live and the dead jobs; each is asked once, as it may die at any moment."""
    live: list[ImageJob] = []
    dead: list[ImageJob] = []
    for job in jobs:
        (dead if job.is_dead(now) else live).append(job)
    return live, dead
