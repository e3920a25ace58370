"""A job, which is one image on its way through the engine, and the request that waits for it."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from images.transform import Pixels
from serving.backends.backend import Probabilities
from serving.engine.room import Lease
from serving.engine.sources import Source
from serving.errors import DeadlineExceededError, ServingError
from serving.metrics import BatchReason

logger = logging.getLogger(__name__)

# Share of a caller's time after which its answer is due. The rest is for the network: time is
# counted here only from the arrival of the request, gRPC rounds a deadline up by as much as 1 %,
# and the answer must still travel back.
USABLE_SHARE = 0.98


class Timing(NamedTuple):
    """How long an image spent in each stage, in seconds, and how many images its batch had.

    `decode_after_s` is when its decoding began, after its request came.
    """

    admission_s: float
    decode_s: float
    queue_s: float
    infer_s: float
    total_s: float
    batch_images: int
    decode_after_s: float


class Prediction(NamedTuple):
    """An answer: float32 probabilities (classes,) in label order, and how long it took."""

    probabilities: Probabilities
    timing: Timing


class BatchRun(NamedTuple):
    """What a batch gave, float32 (images, classes), and when it ran; times in seconds."""

    probabilities: Probabilities
    started: float
    finished: float
    bucket: int
    predicted_s: float
    is_cold: bool
    reason: BatchReason
    is_wide: bool = False


Answer = Prediction | ServingError


class Caller(Protocol):
    """The sender of a request, as the engine sees it; any thread may call.

    Attributes:
        deadline: when the caller stops waiting, on the engine's clock, in seconds.
        keeps_time: whether the caller leaves by itself at the deadline; else the engine ends the
            request then.
    """

    deadline: float
    keeps_time: bool

    @property
    def name(self) -> str:
        """Whose request it is, among those who share what may be in flight."""

    def post(self, work: Callable[[], None]) -> bool:
        """Have `work` done on the thread that answers; return False if the caller has left."""

    def answer(self, answers: list[Answer]) -> None:
        """Take the answers, one per image, in order. Called at most once."""

    def refuse(self, error: ServingError) -> None:
        """Take the error with which the whole request is refused, in place of answers.

        Only where the decision comes from another process; else `Model.submit` raises it.
        """

    def on_leave(self, leave: Callable[[], None]) -> None:
        """Have `leave` called if the caller leaves before it is answered."""


class Waiter:
    """What a request waits for: the answers to its images. Any thread may call.

    It ends once: with all answers (`settle`), at its deadline (`expire`), or because its caller has
    left (`leave`). Later answers are dropped.

    Args:
        images: how many.
        arrived: when the request came, on the engine's clock, in seconds.
        caller: gets the answers.
        admitted: when the engine saw it, if that was later.

    Attributes:
        due: when its images must be answered, so that the answer arrives by the caller's deadline.
        is_over: whether it has ended.
    """

    __slots__ = (
        "__weakref__", "_answers", "_caller", "_followers", "_lock", "_pending", "admitted",
        "arrived", "deadline", "due", "is_over",
    )  # fmt: skip

    def __init__(
        self, images: int, arrived: float, caller: Caller, admitted: float | None = None
    ) -> None:
        self._answers: list[Answer | None] = [None] * images
        self._pending, self.arrived, self.deadline = images, arrived, caller.deadline
        self.admitted = arrived if admitted is None else admitted
        self.due = arrived + USABLE_SHARE * (self.deadline - arrived)
        self.is_over = False
        # None once it is over: the caller holds this through `on_leave`, a reference cycle.
        self._caller: Caller | None = caller
        self._followers: tuple[Callable[[], None], ...] = ()
        self._lock = threading.Lock()

    def put(self, index: int, answer: Answer) -> bool:
        """Take the answer to one image; return False if the request is over."""
        with self._lock:
            if not self.is_over:
                self._answers[index] = answer
                self._pending -= 1
            return not self.is_over

    def post(self, work: Callable[[], None]) -> bool:
        """Have `work` done on the thread that answers; return False if the caller has left."""
        caller = self._caller
        return caller is not None and caller.post(work)

    def settle(self) -> None:
        """Answer the caller if every image has its answer."""
        if not (self._pending or self.is_over):
            self._answer(self._end()[0])

    def expire(self, count: Callable[[int], object]) -> None:
        """Give `count` the number of images without an answer, then answer with what there is."""
        caller, missing = self._end()
        count(missing)
        self._answer(caller)

    def leave(self) -> int:
        """Wait no longer; return how many images had no answer."""
        return self._end()[1]

    def on_end(self, follow: Callable[[], None]) -> None:
        """Have `follow` called when it has ended, on the thread on which that happens."""
        with self._lock:
            if not self.is_over:
                self._followers += (follow,)
                return
        follow()

    def _end(self) -> tuple[Caller | None, int]:
        with self._lock:
            self.is_over = True
            caller, self._caller = self._caller, None
            missing, self._pending = self._pending, 0
            followers, self._followers = self._followers, ()
        for follow in followers:
            follow()
        return caller, missing

    def _answer(self, caller: Caller | None) -> None:
        if caller:
            try:
                caller.answer([answer or expired() for answer in self._answers])
            except Exception:
                # It may be one of many whose images ran in the same batch.
                logger.exception("a caller could not be answered")


@dataclass(slots=True, eq=False)
class ImageJob:
    """One image, what it holds, and its place in the request.

    All times are on the engine's clock, in seconds.

    Attributes:
        lease: its slot and its share of what may be in flight; given back by `lease.close()`.
        decode_s: predicted time to decode it; 0 once it is decoded.
        is_guess: whether that is a guess, because of which no image may be refused.
        wait_s: predicted wait until its batch runs; 0 if too short to learn from.
        queued: when it arrived at the batcher.
        worked_s: how much of a core its decoding took.
        pixels: uint8 (height, width, 3), once it is decoded.
    """

    source: Source
    lease: Lease
    waiter: Waiter
    index: int
    decode_s: float = 0.0
    is_guess: bool = False
    wait_s: float = 0.0
    queued: float = 0.0
    decode_started: float = 0.0
    decoded: float = 0.0
    worked_s: float = 0.0
    pixels: Pixels | None = None

    @property
    def arrived(self) -> float:
        """When its request arrived."""
        return self.waiter.arrived

    @property
    def admitted(self) -> float:
        """When the engine saw its request: what it predicts begins then."""
        return self.waiter.admitted

    @property
    def due(self) -> float:
        """When it must be answered."""
        return self.waiter.due

    @property
    def known_decode_s(self) -> float:
        """The part of `decode_s` because of which an image, this or another, may be refused."""
        return 0.0 if self.is_guess else self.decode_s

    def is_dead(self, now: float) -> bool:
        """Whether its answer would come too late, or its request is over."""
        return now >= self.due or self.waiter.is_over

    def timing(self, started: float, finished: float, batch_images: int) -> Timing:
        """Return the stages of a job whose batch ran from `started` to `finished`."""
        arrived = self.waiter.arrived
        admission_s = min(self.queued, self.decode_started) - arrived
        decode_s = self.decoded - self.decode_started
        queue_s = started - arrived - admission_s - decode_s
        return Timing(
            admission_s,
            decode_s,
            queue_s,
            finished - started,
            finished - arrived,
            batch_images,
            self.decode_started - arrived,
        )


def expired() -> DeadlineExceededError:
    """Return the error of an image that was not answered in time."""
    return DeadlineExceededError("the deadline passed before the image was classified")
