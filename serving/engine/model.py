"""A loaded model that answers: admission -> decode pool -> batcher -> devices -> callers."""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

from prometheus_client import Gauge

from bundle.store import Bundle
from serving.backends.backend import Instance, placement
from serving.engine.admission import Admission, Limits
from serving.engine.answers import Answers, expired
from serving.engine.batcher import Batcher
from serving.engine.buckets import Buckets
from serving.engine.deadlines import Deadlines
from serving.engine.decode_pool import DecodePool
from serving.engine.decoder import Decoder
from serving.engine.device import Device, State
from serving.engine.forecast import Forecast
from serving.engine.job import Answer, Call, ImageJob, OnEnd, Post
from serving.engine.latency import BatchLatency, Clock, DecodeLatency, Slip
from serving.engine.pixel_pool import PixelPool
from serving.engine.sources import Source
from serving.errors import UnavailableError
from serving.metrics import Metrics


class Model:
    """Answers images from one bundle.

    Args:
        bundle: the proven bundle.
        instances: its backends, each on a device (or a share of one) of its own.
        buckets: batch sizes to warm and run, rising.
        decode_threads: threads that decode; 0: the devices decode their batches.
        limits: what may be in flight; the pixel pool has a slot for each image.
        max_image_pixels: largest image before the transform, in pixels.
        metrics: where to count.
        slo_s: time within which 99 of 100 images are to be answered, in seconds; None for any.
        clock: monotonic time, in seconds.
    """

    def __init__(
        self,
        bundle: Bundle,
        instances: Sequence[Instance],
        *,
        buckets: Sequence[int],
        decode_threads: int,
        limits: Limits,
        max_image_pixels: int,
        metrics: Metrics,
        slo_s: float | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.bundle, self.buckets, self.clock = bundle, tuple(buckets), clock
        self.placement = placement([instance.backend for instance in instances])
        self._device_names = [
            f"{instance.backend.describe().device}#{index}"
            for index, instance in enumerate(instances)
        ]
        self._metrics = metrics.model(self.name, self.version)
        self._on_ready: list[Callable[[], None]] = []
        transform = bundle.manifest.transform
        self._pool = PixelPool(limits.images, transform.crop.height, transform.crop.width)
        latency, decode_latency, slip = BatchLatency(clock), DecodeLatency(), Slip(clock)
        sizes = Buckets(buckets, latency, slo_s)
        self._answers = Answers(self._metrics, self._release, slip, clock)
        self._deadlines = Deadlines(self._answers.expire, clock)
        self.batcher = Batcher(
            buckets=sizes,
            latency=latency,
            devices=self._serving,
            clock=clock,
            on_dead=self._answers.drop,
        )
        self._decode = Decoder(
            transform, max_image_pixels, self._pool, self._answers, decode_latency, clock
        )
        self.decoders = DecodePool(decode_threads, self._decode_ahead)
        self.devices = [
            Device(
                instance,
                buckets=sizes,
                latency=latency,
                pool=self._pool,
                batcher=self.batcher,
                sink=self._answers,
                decode=self._decode,
                clock=clock,
                on_state=self._tell_state,
            )
            for instance in instances
        ]
        forecast = Forecast(self.decoders, self.batcher, sizes, latency, decode_latency, slip)
        self._admission = Admission(
            self._pool,
            limits,
            max_image_pixels,
            forecast,
            self.devices,
            self._sweep,
            self._metrics,
            clock,
        )
        self._publish(metrics)

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
        """Whether a device answers."""
        return any(device.state is State.SERVING for device in self.devices)

    @property
    def is_saturated(self) -> bool:
        """Whether images wait for full batches on all devices."""
        return self.batcher.is_full()

    def on_ready(self, listener: Callable[[], None]) -> None:
        """Call `listener` on the event loop whenever `ready` may have changed."""
        self._on_ready.append(listener)

    def warm_up(self) -> None:
        """Run every bucket on every device."""
        for device in self.devices:
            device.warm_up()

    def attach(self) -> None:
        """Watch deadlines on the event loop that runs now."""
        self._loop = asyncio.get_running_loop()
        self._deadlines.attach(self._loop)

    def start(self) -> None:
        """Begin to answer; the event loop that runs now watches deadlines."""
        self.attach()
        self.decoders.start()
        for device in self.devices:
            device.start()

    def close(self) -> None:
        """Fail what still waits, finish what runs, stop all threads."""
        for queue in (self.decoders, self.batcher):
            self._answers.fail(queue.close(), _closing())
        for device in self.devices:
            device.stop()
        for device in self.devices:
            device.close()

    async def classify(
        self, sources: Sequence[Source], deadline: float, nbytes: int = 0
    ) -> list[Answer]:
        """Return an answer or an error for each image, in order, no later than `deadline`.

        Raises what `submit` raises.
        """
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def wake(_: Call) -> None:
            _post(loop, partial(_set, ended))

        call = self.submit(sources, deadline, wake, partial(_post, loop), nbytes)
        self._deadlines.add(call)
        try:
            await ended
        except asyncio.CancelledError:
            self._answers.leave(call)
            raise
        return results(call)

    def check(self, deadline: float) -> None:
        """Raise what `submit` would raise whatever the images were; any thread may call."""
        self._admission.check(deadline)

    def submit(
        self,
        sources: Sequence[Source],
        deadline: float,
        on_end: OnEnd,
        post: Post,
        nbytes: int = 0,
    ) -> Call:
        """Begin to answer images; any thread may call.

        Where `nbytes`, what they take in memory at least, or the deadline refuse them all, no
        source is looked at. For `on_end` and `post` see `Call`; where each image by itself is
        refused, `on_end` runs at once.

        Raises:
            InvalidRequestError: the images are more than may ever be in flight.
            OverloadedError: there is no room for them now.
            DeadlineExceededError: the deadline has passed or cannot be met.
            UnavailableError: no device answers.
        """
        call = Call(len(sources), self.clock(), deadline, on_end, post)
        jobs = self._admission.admit(sources, nbytes, call)
        self._put(self.decoders if self.decoders.threads else self.batcher, jobs)
        call.settle()
        return call

    def end_in_time(self, call: Call) -> None:
        """End a call at its deadline, with what there is by then; any thread may call."""
        self._deadlines.add(call)

    def leave(self, call: Call) -> None:
        """Let a call go whose caller has left; any thread may call."""
        self._answers.leave(call)

    def _decode_ahead(self, job: ImageJob) -> None:
        if self._decode(job):
            self._put(self.batcher, [job])

    def _put(self, queue: DecodePool | Batcher, jobs: list[ImageJob]) -> None:
        if not queue.put(jobs):
            self._answers.fail(jobs, _closing())

    def _serving(self) -> int:
        return max(1, len([device for device in self.devices if device.state is State.SERVING]))

    def _release(self, jobs: list[ImageJob]) -> None:
        self._admission.release(jobs)

    def _sweep(self) -> list[ImageJob]:
        """Take the dead jobs out of the queues; what they held is still to be given back."""
        now = self.clock()
        dead = [*self.decoders.sweep(now), *self.batcher.sweep(now)]
        if dead:
            self._answers.tell(dead, expired())
        return dead

    def _tell_state(self, device: Device) -> None:
        self._gauge(device).set(device.state is State.SERVING)
        if all(device.state is State.BROKEN for device in self.devices):
            lost = UnavailableError("the model's devices are lost; they are being opened anew")
            self._answers.fail(self.batcher.clear(), lost)
        for listener in self._on_ready:
            self._loop.call_soon_threadsafe(listener)

    def _gauge(self, device: Device) -> Gauge:
        return self._metrics.device_ready(self._device_names[self.devices.index(device)])

    def _publish(self, metrics: Metrics) -> None:
        self._metrics.queue_images.set_function(lambda: len(self.batcher))
        self._metrics.inflight_images.set_function(lambda: self._pool.taken)
        self._metrics.inflight_bytes.set_function(lambda: self._admission.nbytes)
        for device in self.devices:
            self._gauge(device).set(1)
        info = {**self.placement._asdict(), "digest": self.bundle.digest}
        metrics.model_info.labels(model=self.name, version=self.version, **info).set(1)


def results(call: Call) -> list[Answer]:
    """Return what became of each image of a call that is over."""
    return [answer or expired() for answer in call.answers]


def _closing() -> UnavailableError:
    return UnavailableError("the server is shutting down")


def _post(loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> bool:
    try:
        loop.call_soon_threadsafe(work)
    except RuntimeError:  # it is closed, and nobody waits any more
        return False
    return True


def _set(ended: "asyncio.Future[None]") -> None:
    if not ended.done():
        ended.set_result(None)
