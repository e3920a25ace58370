"""One image on its way through the engine, and the call that waits for it."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from serving.backends.backend import Probabilities
from serving.engine.sources import Size, Source
from serving.errors import ServingError

logger = logging.getLogger(__name__)

# Of the time that a caller gives: gRPC rounds it up by as much as 1 %, it begins here only after
# the request's way, and the answer has its own before it. The last moment would be too late.
USABLE = 0.98


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
Post = Callable[[Callable[[], None]], bool]


class Call:
    """What one caller waits for: the answers to its images, in order. Any thread may call.

    Args:
        images: how many.
        arrived: when it came; times are those of one monotonic clock, in seconds.
        deadline: when it is over in any case; its images are to be answered by `due`, before.
        on_end: gets the call when all images have their answer, or the deadline passes.
        post: has something done where callers are best told; False where this caller has left.
    """

    __slots__ = (
        "__weakref__", "_lock", "_on_end", "answers", "arrived", "deadline", "due", "is_over",
        "pending", "post",
    )  # fmt: skip

    def __init__(
        self, images: int, arrived: float, deadline: float, on_end: "OnEnd", post: Post
    ) -> None:
        self.answers: list[Answer | None] = [None] * images
        self.pending, self.arrived, self.deadline = images, arrived, deadline
        self.due = due(arrived, deadline)
        self.is_over = False
        self._on_end: OnEnd = on_end
        self.post = post
        self._lock = threading.Lock()

    def keep(self, index: int, answer: Answer) -> bool:
        """Keep an answer for `settle`; return False where nobody waits for it."""
        with self._lock:
            if not self.is_over:
                self.answers[index] = answer
                self.pending -= 1
            return not self.is_over

    def settle(self) -> None:
        """End the call where it has all answers."""
        if not self.pending:
            self.end(lambda _: None)

    def end(self, count: Callable[[int], None]) -> None:
        """Wait no longer: count the answers that are missing, tell the caller what there is."""
        missing, on_end = self._close()
        count(missing)
        try:
            on_end(self)
        except Exception:
            # It may be one of many whose images ran in the same batch.
            logger.exception("a caller could not be told its answers")

    def leave(self) -> int:
        """Wait no longer; return how many answers are missing, once."""
        return self._close()[0]

    def _close(self) -> tuple[int, "OnEnd"]:
        with self._lock:
            self.is_over = True
            missing, self.pending = self.pending, 0
            # They hold what waits for this call, which holds the call.
            on_end, self._on_end, self.post = self._on_end, _tell_nobody, _nowhere
        return missing, on_end


OnEnd = Callable[[Call], None]


def due(arrived: float, deadline: float) -> float:
    """Return when an image must be answered so that the answer comes by the deadline."""
    return arrived + USABLE * (deadline - arrived)


@dataclass(slots=True, eq=False)
class ImageJob:
    """One image, its slot in the pixel pool, and its place in the call that waits for it.

    All times are those of one monotonic clock, in seconds; `decode_s` is how long decoding it is
    expected to take from now on, `wait_s` how long it was to take until its batch runs, 0 where
    that is short; `queued` is when it came to the batcher. It knows no request and no gRPC.
    """

    source: Source
    size: Size
    call: Call
    index: int
    deadline: float
    arrived: float
    decode_s: float = 0.0
    wait_s: float = 0.0
    slot: int = -1
    queued: float = 0.0
    decode_started: float = 0.0
    decoded: float = 0.0

    def is_dead(self, now: float) -> bool:
        """Whether nobody waits for the answer any more: cancelled or expired."""
        return now >= self.deadline or self.call.is_over

    def timing(self, started: float, finished: float, batch_images: int) -> Timing:
        """Return the stages of a job whose batch ran from `started` to `finished`."""
        admission = min(self.queued, self.decode_started) - self.arrived
        decode = self.decoded - self.decode_started
        return Timing(
            admission=admission,
            decode=decode,
            queue=started - self.arrived - admission - decode,
            infer=finished - started,
            total=finished - self.arrived,
            batch_images=batch_images,
        )


def _tell_nobody(_: Call) -> None:
    """End a call that has ended."""


def _nowhere(_: Callable[[], None]) -> bool:
    """Have nothing done for a call that has ended."""
    return False
