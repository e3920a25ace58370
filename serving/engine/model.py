"""A loaded model that answers: admission -> decoding -> batcher -> devices -> callers."""

import asyncio
import weakref
from collections.abc import Callable, Sequence
from functools import partial

from bundle.store import Bundle
from serving.backends.backend import Backend, Placement
from serving.engine.admission import Admission, Sources
from serving.engine.answers import Answers
from serving.engine.batcher import Batcher, closing
from serving.engine.decode import DecodePool
from serving.engine.device import Device
from serving.engine.job import Answer, Caller, Waiter
from serving.engine.latency import Clock
from serving.engine.shadow import Shadow
from serving.engine.watch import Watch
from serving.engine.wide import Wide
from serving.errors import ProcessLostError
from serving.metrics import ModelMetrics


class Loop:
    """The event loop, as other threads use it; calls before `attach` do nothing."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self.listeners: list[Callable[[], None]] = []

    def attach(self) -> None:
        """Use the loop that runs now."""
        self._loop = asyncio.get_running_loop()

    def notify(self) -> None:
        """Call every listener, soon."""
        for listener in self.listeners:
            self.call_soon(listener)

    def call_soon(self, work: Callable[[], object]) -> None:
        """Have `work` done on the loop, soon."""
        if self._loop:
            self._loop.call_soon_threadsafe(work)

    def call_later(self, delay_s: float, work: Callable[[], object]) -> None:
        """Have `work` done on the loop after `delay_s` seconds."""
        if self._loop:
            self._loop.call_soon_threadsafe(self._loop.call_later, delay_s, work)


class Hold:
    """Keeps a model from ending, as long as somebody refers to this."""

    __slots__ = ("__weakref__",)


class Model:
    """Answers images from one bundle; `engine.build` puts its parts together.

    Attributes:
        bundle: the proved bundle.
        placement: its runtime, devices and precision.
        buckets: its warmed batch sizes, ascending.
        open_another: opens one more instance, proved in given batch sizes; slow.
        metrics: what it counts.
        clock: monotonic time, in seconds.
    """

    def __init__(
        self,
        bundle: Bundle,
        placement: Placement,
        buckets: Sequence[int],
        *,
        admission: Admission,
        answers: Answers,
        decoders: DecodePool,
        background: DecodePool,
        batcher: Batcher,
        devices: Sequence[Device],
        open_another: Callable[[Sequence[int]], Backend],
        wide: Wide | None,
        watch: Watch,
        loop: Loop,
        metrics: ModelMetrics,
        clock: Clock,
    ) -> None:
        self.bundle, self.placement, self.buckets = bundle, placement, tuple(buckets)
        self._admission, self._answers, self._loop = admission, answers, loop
        self.decoders, self.background = decoders, background
        self.batcher, self.devices, self.wide = batcher, devices, wide
        self.open_another = open_another
        self.watch, self.metrics, self.clock = watch, metrics, clock
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
    def ready(self) -> bool:
        """Whether a device answers, and a thread decodes."""
        return bool(self.batcher.serving) and not self.decoders.is_lost

    @property
    def is_used(self) -> bool:
        """Whether images are in flight, or somebody holds it who will send some."""
        return bool(self._holds) or self._admission.is_used

    def hold(self) -> Hold:
        """Return what keeps the model from ending before a request is sent to it, and answered.

        For requests that wait between finding it and asking it; only the event loop may call.
        """
        hold = Hold()
        self._holds.add(hold)
        return hold

    @property
    def lost_process(self) -> ProcessLostError | None:
        """The error after which this process can run the model no more; None before."""
        errors = (device.runner.lost_process for device in self.devices)
        return next((error for error in errors if error), None)

    @property
    def is_idle(self) -> bool:
        """Whether no image is in flight."""
        return not self._admission.is_used

    @property
    def shadow(self) -> Shadow | None:
        """What runs its images again; it does not close it."""
        return self._answers.shadow

    @shadow.setter
    def shadow(self, shadow: Shadow | None) -> None:
        self._answers.shadow = shadow

    def on_ready(self, listener: Callable[[], None]) -> None:
        """Call `listener` on the event loop when `ready` or `lost_process` may have changed."""
        self._loop.listeners.append(listener)

    def warm_up(self) -> None:
        """Run wide batches in turn with one of a device, then every bucket on every device."""
        if self.wide:
            runner, smallest = self.devices[0].runner, self.buckets[0]
            self.wide.warm_up(lambda: runner.warm(smallest))
        for device in self.devices:  # last, because each releases memory at its end
            device.warm_up()

    def attach(self) -> None:
        """Keep time on the event loop that runs now."""
        self._loop.attach()

    def start(self) -> None:
        """Begin to answer; keep time on the event loop that runs now."""
        self.attach()
        self.decoders.start()
        self.background.start()
        for device in self.devices:
            device.start()
        self.watch.start()

    def refuse(self) -> None:
        """Fail what still waits, and from now on whatever comes; what runs goes on."""
        for stage in (self.decoders, self.background, self.batcher):
            self._answers.fail(stage.queue.close(), closing())

    def close(self) -> None:
        """Fail what still waits, finish what runs, however long it takes, stop all threads."""
        self.refuse()
        self.decoders.close()
        self.background.close()
        for device in self.devices:
            device.stop()
        for device in self.devices:
            device.close()
        if self.wide:
            self.wide.close()
        self.watch.stop()

    def submit(self, sources: Sources, caller: Caller, nbytes: int = 0) -> Waiter:
        """Begin to answer images, and return what waits for them; any thread may call.

        When the caller leaves or its deadline passes, the images that have no answer yet are
        dropped. `nbytes` is the least that they take in memory: if that or the deadline already
        refuses them all, no source is read.

        Raises:
            InvalidRequestError: the images are more than may ever be in flight.
            OverloadedError: there is no room for them now.
            DeadlineExceededError: the deadline has passed or cannot be met.
            UnavailableError: no device answers, or no thread decodes.
        """
        waiter = Waiter(len(sources), self.clock(), caller)
        jobs = self._admission.admit(sources, nbytes, waiter, caller)
        caller.on_leave(partial(self._answers.leave, waiter))
        if not caller.keeps_time:
            self._expire_in_time(waiter)
        if slow := [job for job in jobs if job.lease.is_slow]:
            self.background.put(slow)
            jobs = [job for job in jobs if not job.lease.is_slow]
        self.decoders.put(jobs)
        waiter.settle()  # every image may have been refused on its own
        return waiter

    async def classify(
        self, sources: Sources, deadline: float, nbytes: int = 0, caller_name: str = ""
    ) -> list[Answer]:
        """Return an answer or an error for each image, in order, no later than `deadline`.

        Raises what `submit` raises.
        """
        caller = _Task(deadline, caller_name)
        waiter = self.submit(sources, caller, nbytes)
        del sources  # they may hold the whole request, and the jobs hold their own images
        left_s = deadline - self.clock()
        timer = asyncio.get_running_loop().call_later(left_s, self._answers.expire, waiter)
        try:
            return await caller.answers
        except asyncio.CancelledError:
            caller.leave()
            raise
        finally:
            timer.cancel()

    def _expire_in_time(self, waiter: Waiter) -> None:
        """End a request at its deadline, unless it is over by then."""
        # The timer outlives a request that is answered; it must not keep its images alive.
        reference = weakref.ref(waiter)

        def expire() -> None:
            if (late := reference()) and not late.is_over:
                self._answers.expire(late)

        self._loop.call_later(waiter.deadline - self.clock(), expire)


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

    def on_leave(self, leave: Callable[[], None]) -> None:
        self.leave = leave

    def _set(self, answers: list[Answer]) -> None:
        if not self.answers.done():
            self.answers.set_result(answers)
