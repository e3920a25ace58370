"""A loaded model that answers: admission -> decoding -> batcher -> devices -> callers."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from bundle.store import Bundle
from images.transform import Pixels
from serving.backends.backend import Backend, Placement
from serving.engine.admission import Admission, Sources
from serving.engine.answers import Answers
from serving.engine.batcher import Batcher, closing
from serving.engine.decode import DecodePool, Decoding
from serving.engine.decode_latency import DecodeLatency
from serving.engine.device import Device
from serving.engine.job import Caller, ImageJob, Waiter
from serving.engine.latency import Clock
from serving.engine.remote import RemoteDecoding, RemoteSlots
from serving.engine.served import Served
from serving.engine.shadow import Shadow
from serving.engine.sources import Source
from serving.engine.warm_up import Measured
from serving.engine.watch import Watch
from serving.engine.wide import Wide
from serving.errors import ProcessLostError, UnavailableError
from serving.metrics import ModelMetrics

NOT_DECODED = (
    "the process that was to decode the image has ended: it died, or a decode took too long "
    "(--overdue-s); try again, unless it is this image that does it"
)


class Elsewhere(Protocol):
    """Other processes, which decode images that callers of this one have sent."""

    def decoding(self, model: "Model") -> Decoding:
        """Return where an image is decoded; raise `UnavailableError` if nowhere at present."""

    def show(self, model: "Model", source: Source, deadline: float) -> Pixels:
        """Return the pixels that a model's network would see of an image; it is not run. Blocks.

        Raises:
            InvalidImageError: the image cannot be decoded.
            UnavailableError: no process decodes at present, or the one that did has ended.
            TimeoutError: the deadline has passed, on the monotonic clock, in seconds.
        """


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


class Model(Served):
    """Answers images from one bundle; `engine.build` puts its parts together.

    Attributes:
        bundle: the proved bundle.
        placement: its runtime, devices and precision.
        buckets: its warmed batch sizes, ascending.
        open_another: opens one more instance, proved in given batch sizes; slow.
        metrics: what it counts.
        clock: monotonic time, in seconds.
        elsewhere: what decodes images of callers of this process; None: this process does.
    """

    def __init__(
        self,
        bundle: Bundle,
        placement: Placement,
        buckets: Sequence[int],
        *,
        admission: Admission,
        decode_latency: DecodeLatency,
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
        super().__init__(bundle, clock)
        self.placement, self.buckets = placement, tuple(buckets)
        self._admission, self._answers, self._loop = admission, answers, loop
        self._decoding, self._decode_latency = Decoding(decoders, background), decode_latency
        self.decoders, self.background = decoders, background
        self.batcher, self.devices, self.wide = batcher, devices, wide
        self.open_another = open_another
        self.watch, self.metrics = watch, metrics
        self.elsewhere: Elsewhere | None = None

    @property
    def ready(self) -> bool:
        """Whether a device answers, and a thread decodes."""
        return bool(self.batcher.serving) and not self.decoders.is_lost

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
    def is_shared(self) -> bool:
        """Whether another process has it, whose callers may still send images."""
        return len(self._admission.decodings) > 1  # one is this process

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

    def warm_up(self) -> Measured:
        """Run wide batches in turn with one of a device, then every bucket on every device."""
        wide: dict[int, float] = {}
        if self.wide:
            runner, smallest = self.devices[0].runner, self.buckets[0]
            wide = self.wide.warm_up(lambda: runner.warm(smallest))
        # Last, because each releases memory at its end.
        return Measured([device.warm_up() for device in self.devices], wide)

    def learn(self, measured: Measured) -> None:
        """Expect what the warm-up of such a model has found in another process."""
        if self.wide:
            self.wide.learn(measured.wide)
        for device, times in zip(self.devices, measured.instances, strict=True):
            device.learn(times)

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

    def exemplify(self, image_s: float, trace_id: str) -> None:
        """Name the trace of an image that took so long from its arrival to its answer."""
        self.metrics.stages["total"].exemplify(image_s, trace_id)

    def decode_elsewhere(
        self,
        threads: int,
        slow_threads: int,
        grant: Callable[[Sequence[ImageJob]], None],
        slots: RemoteSlots,
    ) -> RemoteDecoding:
        """Take images, from now on, also of callers of another process, which decodes them.

        Only the event loop may call; for the arguments see `RemoteDecoding`.
        """
        remote = RemoteDecoding(
            threads,
            slow_threads,
            grant,
            slots,
            batcher=self.batcher,
            answers=self._answers,
            latency=self._decode_latency,
        )
        self._admission.decodings += (remote.pools,)
        return remote

    def decode_no_more(self, remote: RemoteDecoding) -> None:
        """Undo `decode_elsewhere`; what waits there fails. Only the event loop may call."""
        left = tuple(one for one in self._admission.decodings if one is not remote.pools)
        self._admission.decodings = left
        for pool in remote.pools:
            self._answers.fail(pool.queue.close(), UnavailableError(NOT_DECODED))

    def expire(self, waiter: Waiter) -> None:
        """End a request at its deadline; it gets the answers that there are."""
        self._answers.expire(waiter)

    def submit(
        self,
        sources: Sources,
        caller: Caller,
        nbytes: int = 0,
        decoding: Decoding | None = None,
        arrived: float | None = None,
    ) -> Waiter:
        """Begin to answer images, and return what waits for them; any thread may call.

        When the caller leaves or its deadline passes, the images that have no answer yet are
        dropped. `nbytes` is the least that they take in memory: if that or the deadline already
        refuses them all, no source is read. `decoding` says where they are decoded, if the
        caller is another process's, and `arrived` when the request came, if not now.

        Raises:
            InvalidRequestError: the images are more than may ever be in flight.
            OverloadedError: there is no room for them now.
            DeadlineExceededError: the deadline has passed or cannot be met.
            UnavailableError: no device answers, or no thread decodes.
        """
        decoding = decoding or self._found(len(sources))
        now = self.clock()
        waiter = Waiter(len(sources), now if arrived is None else arrived, caller, now)
        jobs = self._admission.admit(sources, nbytes, waiter, caller, decoding, now)
        caller.on_leave(partial(self._answers.leave, waiter))
        if not caller.keeps_time:
            self._expire_in_time(waiter, self._loop.call_later)
        if slow := [job for job in jobs if job.lease.is_slow]:
            decoding.slow.put(slow)
            jobs = [job for job in jobs if not job.lease.is_slow]
        decoding.quick.put(jobs)
        waiter.settle()  # every image may have been refused on its own
        return waiter

    def _found(self, images: int) -> Decoding:
        """Return where images of a caller of this process are decoded."""
        if not self.elsewhere:
            return self._decoding
        try:
            return self.elsewhere.decoding(self)
        except UnavailableError:
            self.metrics.reject("not_ready", images)
            raise
