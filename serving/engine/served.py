"""A model as those see it who send it images: loaded in this process, or in another."""

import asyncio
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

from bundle.store import Bundle
from serving.engine.admission import Sources
from serving.engine.job import Answer, Caller, Waiter
from serving.engine.latency import Clock
from serving.errors import ServingError

# Has work done on the event loop after so many seconds; any thread may call.
CallLater = Callable[[float, Callable[[], object]], None]


class Hold:
    """Keeps a model from ending, as long as somebody refers to this."""

    __slots__ = ("__weakref__",)


class Served(ABC):
    """What classifying needs of a model.

    Attributes:
        bundle: the proved bundle.
        clock: monotonic time, in seconds.
    """

    def __init__(self, bundle: Bundle, clock: Clock) -> None:
        self.bundle, self.clock = bundle, clock
        self._holds = weakref.WeakSet[Hold]()

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.bundle.manifest.name

    @property
    def version(self) -> str:
        """Its version."""
        return self.bundle.manifest.version

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether it answers."""

    @property
    @abstractmethod
    def is_idle(self) -> bool:
        """Whether no image is in flight."""

    @property
    def is_used(self) -> bool:
        """Whether images are in flight, or somebody holds it who will send some."""
        return bool(self._holds) or not self.is_idle

    def hold(self) -> Hold:
        """Return what keeps the model from ending before a request is sent to it, and answered.

        For requests that wait between finding it and asking it; only the event loop may call.
        """
        hold = Hold()
        self._holds.add(hold)
        return hold

    @abstractmethod
    def exemplify(self, image_s: float, trace_id: str) -> None:
        """Name the trace of an image that took so long from its arrival to its answer."""

    @abstractmethod
    def submit(self, sources: Sources, caller: Caller, nbytes: int = 0) -> Waiter:
        """Begin to answer images, and return what waits for them; any thread may call.

        When the caller leaves or its deadline passes, the images that have no answer yet are
        dropped. `nbytes` is the least that they take in memory.
        """

    @abstractmethod
    def expire(self, waiter: Waiter) -> None:
        """End a request at its deadline; it gets the answers that there are."""

    async def classify(
        self, sources: Sources, deadline: float, nbytes: int = 0, caller_name: str = ""
    ) -> list[Answer]:
        """Return an answer or an error for each image, in order, no later than `deadline`.

        Raises what `Model.submit` raises.
        """
        caller = _Task(deadline, caller_name)
        waiter = self.submit(sources, caller, nbytes)
        del sources  # they may hold the whole request, and the jobs hold their own images
        timer = asyncio.get_running_loop().call_later(deadline - self.clock(), self.expire, waiter)
        try:
            return await caller.answers
        except asyncio.CancelledError:
            caller.leave()
            raise
        finally:
            timer.cancel()

    def _expire_in_time(self, waiter: Waiter, call_later: CallLater) -> None:
        """Have a request end at its deadline, unless it is over by then."""
        # The timer outlives a request that is answered; it must not keep its images alive.
        reference = weakref.ref(waiter)

        def expire() -> None:
            if (late := reference()) and not late.is_over:
                self.expire(late)

        call_later(waiter.deadline - self.clock(), expire)


class _Task:
    """A task of the event loop that waits for answers, and keeps time."""

    keeps_time = True

    def __init__(self, deadline: float, name: str) -> None:
        self.deadline, self.name = deadline, name
        self._loop = asyncio.get_running_loop()
        self.answers: asyncio.Future[list[Answer]] = self._loop.create_future()
        self.leave: Callable[[], None]

    def post(self, work: Callable[[], None]) -> bool:
        try:
            self._loop.call_soon_threadsafe(work)
        except RuntimeError:  # the loop is closed, and nothing waits any more
            return False
        return True

    def answer(self, answers: list[Answer]) -> None:
        self.post(partial(self._set, answers))

    def refuse(self, error: ServingError) -> None:
        self.post(partial(self._fail, error))

    def on_leave(self, leave: Callable[[], None]) -> None:
        self.leave = leave

    def _set(self, answers: list[Answer]) -> None:
        if not self.answers.done():
            self.answers.set_result(answers)

    def _fail(self, error: ServingError) -> None:
        if not self.answers.done():
            self.answers.set_exception(error)
