"""A model of the engine process, as a front end's callers ask it."""

from collections.abc import Callable, Sequence
from typing import Protocol

from bundle.store import Bundle
from images.limits import ImageLimits
from serving.engine.admission import Sources
from serving.engine.buckets import SHORT_DECODE_S
from serving.engine.decode import DecodePool, Decoder
from serving.engine.job import Caller, ImageJob, Waiter
from serving.engine.latency import Clock
from serving.engine.served import Served
from serving.engine.sources import Raw, Ready, Size, Source
from serving.errors import ServingError
from serving.frontend import messages
from serving.frontend.link import frame
from serving.frontend.messages import CALL, KIND_NUMBERS, LEARN, MODEL, PLACE, READY_IMAGE, Kind
from serving.frontend.slots import SlotLease, Slots


class Engine(Protocol):
    """The engine process; any thread may call."""

    clock: Clock

    def send(self, message: bytes) -> None:
        """Send it a message."""

    def ask(self, request: "Request") -> None:
        """Expect the answers to a request, which gets its number."""

    def give_up(self, request: "Request") -> bool:
        """Expect them no more; return False if they are there."""

    def call_later(self, delay_s: float, work: Callable[[], object]) -> None:
        """Have `work` done on the event loop after `delay_s` seconds."""


class Request(Waiter):
    """A request that the engine has been asked to let in."""

    __slots__ = ("_asking", "call", "model", "sources")

    def __init__(
        self, model: "RemoteModel", sources: Sequence[Source], arrived: float, caller: Caller
    ) -> None:
        super().__init__(len(sources), arrived, caller)
        self.call = 0
        self.model, self.sources, self._asking = model, sources, caller

    def end(self) -> Caller:
        """Wait no more; return the caller.

        It holds this through `on_leave`: were that a cycle, gRPC would keep calls that are over.
        """
        self.leave()
        caller = self._asking
        del self._asking
        return caller


class RemoteModel(Served):
    """Asks the engine to let images in, decodes them, and passes on the answers.

    Args:
        number: its name between the processes.
        bundle: the proved bundle.
        slots: what it decodes into.
        engine: the other process.
        threads, slow_threads: how many decode, and how many those that are slow.
        image_limits: what an image may cost.
        has_shares: whether the engine tells callers apart.
    """

    ready = True  # the engine says it if not

    def __init__(
        self,
        number: int,
        bundle: Bundle,
        slots: Slots,
        engine: Engine,
        *,
        threads: int,
        slow_threads: int,
        image_limits: ImageLimits,
        has_shares: bool,
    ) -> None:
        super().__init__(bundle, engine.clock)
        self.number, self.slots, self._engine = number, slots, engine
        self._image_limits, self._has_shares = image_limits, has_shares
        self._transform = bundle.manifest.transform
        crop = self._transform.crop
        self._crop = crop.height, crop.width
        reports = Reports(self, engine)
        shared = self._transform, image_limits, reports, reports, engine.clock
        pooled = reports, reports, engine.clock
        self.slow = DecodePool(slow_threads, Decoder(*shared), *pooled, in_background=True)
        quick = Decoder(*shared, longest_s=lambda: SHORT_DECODE_S, pass_on=reports.pass_on)
        self.quick = DecodePool(threads, quick, *pooled)
        self.in_flight = 0  # requests; only the engine's object changes it

    @property
    def is_idle(self) -> bool:
        """Whether no image is in flight."""
        return not self.in_flight

    def exemplify(self, image_s: float, trace_id: str) -> None:
        """Name the trace of an image that took so long from its arrival to its answer."""
        self._engine.send(
            messages.tell(op="exemplar", model=self.number, image_s=image_s, trace_id=trace_id)
        )

    def start(self) -> None:
        """Begin to decode."""
        self.quick.start()
        self.slow.start()

    def close(self) -> None:
        """Decode no more; wait for the images that are being decoded, however long."""
        for pool in (self.quick, self.slow):
            pool.queue.close()
            pool.close()

    def submit(self, sources: Sources, caller: Caller, nbytes: int = 0) -> Request:
        """Ask the engine to let images in, and return what waits for them; any thread may call.

        When the caller leaves or its deadline passes, the images that have no answer yet are
        dropped. If they may not enter, the caller is refused.
        """
        request = Request(self, [*sources], self.clock(), caller)
        self._engine.ask(request)
        images = [self._stated(source) for source in request.sources]
        name = caller.name.encode(errors="replace") if self._has_shares else b""
        caller.on_leave(lambda: self._leave(request))
        if not caller.keeps_time:
            self._expire_in_time(request, self._engine.call_later)
        arrived, deadline = request.arrived, request.deadline
        self._engine.send(
            messages.ask(request.call, self.number, arrived, deadline, nbytes, name, images)
        )
        return request

    def granted(self, request: Request, images: Sequence[tuple[int, bool]]) -> None:
        """Decode images of a request: the place of each, and whether it is slow."""
        for index, is_slow in images:
            source = request.sources[index]
            lease = SlotLease(self.slots, source.size(self._image_limits), is_slow=is_slow)
            (self.slow if is_slow else self.quick).put([ImageJob(source, lease, request, index)])

    def expire(self, waiter: Waiter) -> None:
        """End a request at its deadline; it gets the answers that there are."""
        if isinstance(waiter, Request) and not waiter.is_over:
            self._engine.send(frame(Kind.EXPIRE, CALL.pack(waiter.call)))

    def _stated(self, source: Source) -> bytes:
        """Return what an image claims; one that needs no decoding is in its slot by then."""
        size = source.size(self._image_limits)
        if self._is_plain(source) and (slot := self.slots.take_now()) >= 0:
            started = self.clock()
            try:
                self.slots.pixels[slot][:] = source.pixels(self._transform, self._image_limits)
            except ServingError:  # found again, and told, once it is admitted
                self.slots.give_back(slot)
            else:
                return messages.image(size, slot, started, self.clock())
        return messages.image(size)

    def _is_plain(self, source: Source) -> bool:
        """Whether an image is of the size that the network sees: to copy it is quick."""
        if isinstance(source, Raw):
            return (source.height, source.width) == self._crop
        return isinstance(source, Ready)

    def _leave(self, request: Request) -> None:
        if self._engine.give_up(request):
            request.end()
            self._engine.send(frame(Kind.LEAVE, CALL.pack(request.call)))


class Reports:
    """What becomes of the images that a front end decodes, told to the engine; any thread may call.

    Args:
        model: theirs.
        engine: the other process.
    """

    def __init__(self, model: RemoteModel, engine: Engine) -> None:
        self._model, self._engine = model, engine

    def put(self, jobs: Sequence[ImageJob]) -> None:
        """Say that they are decoded."""
        self._engine.send(
            frame(
                Kind.READY,
                MODEL.pack(self._model.number),
                *[
                    READY_IMAGE.pack(
                        *_place(job),
                        _lease(job).pass_on(),
                        job.decode_started,
                        job.decoded,
                        job.worked_s,
                    )
                    for job in jobs
                ],
            )
        )

    def drop(self, jobs: list[ImageJob]) -> None:
        """Say that they were not decoded, as they are cancelled or their time is up."""
        for job in jobs:
            job.lease.close()
            if not job.waiter.is_over:
                self._engine.send(frame(Kind.DROPPED, PLACE.pack(*_place(job))))

    def fail(self, jobs: list[ImageJob], error: ServingError) -> None:
        """Say that they cannot be decoded."""
        for job in jobs:
            job.lease.close()
            place, told = PLACE.pack(*_place(job)), messages.error_bytes(error)
            self._engine.send(frame(Kind.FAILED, place, told))

    def pass_on(self, job: ImageJob) -> None:
        """Decode an image with the slow ones, and say so."""
        self._engine.send(frame(Kind.SLOW, PLACE.pack(*_place(job))))
        self._model.slow.take_over(job)

    def observe(self, size: Size, seconds: float, worked_s: float, now: float) -> None:
        """Do nothing: `put` says how long it took."""

    def observe_failure(self, size: Size, worked_s: float) -> None:
        """Say how long an image took that could not be decoded."""
        number, kind = self._model.number, KIND_NUMBERS[size.kind]
        self._engine.send(
            frame(Kind.LEARN, LEARN.pack(number, kind, size.pixels, size.nbytes, worked_s))
        )


def _place(job: ImageJob) -> tuple[int, int]:
    assert isinstance(job.waiter, Request)
    return job.waiter.call, job.index


def _lease(job: ImageJob) -> SlotLease:
    assert isinstance(job.lease, SlotLease)
    return job.lease
