"""Images that another process decodes: what the engine knows of them, and where they wait.

A front end asks for admission with what an image's header claims. Once it is granted, the front end
decodes into a slot of memory that both processes see, and says so. The engine reads the slot until
the job ends, and then gives it back: in between nobody else may write to it. An image of a caller
of this process is admitted first, and then sent to a front end, which does the same with it.
"""

from collections.abc import Callable, Sequence
from functools import partial

from images.limits import ImageLimits
from images.transform import Pixels, Transform
from serving.engine.answers import Answers
from serving.engine.batcher import Batcher, closing
from serving.engine.decode import Decoding
from serving.engine.decode_latency import DecodeLatency
from serving.engine.job import ImageJob
from serving.engine.queue import DeadlineQueue
from serving.engine.sources import Size
from serving.errors import InvalidImageError, ServingError


class RemoteImage:
    """An image that another process has, as a source.

    Args:
        size: what it claims to be.
        call: the number of its request; with `index`, its name between the processes.
        index: its place in the request.
        slot: where its pixels are already; -1 if it is yet to be decoded.
        decode_started, decoded: when it was decoded, on the engine's clock, if it is.
    """

    __slots__ = ("_size", "call", "decode_started", "decoded", "index", "slot")

    def __init__(
        self,
        size: Size,
        call: int,
        index: int,
        slot: int = -1,
        decode_started: float = 0.0,
        decoded: float = 0.0,
    ) -> None:
        self._size, self.call, self.index, self.slot = size, call, index, slot
        self.decode_started, self.decoded = decode_started, decoded

    def size(self, limits: ImageLimits) -> Size:  # noqa: ARG002 - the other process has asked them
        """Return what it claims."""
        return self._size

    def pixels(self, transform: Transform, limits: ImageLimits) -> Pixels:  # noqa: ARG002
        """Raise `InvalidImageError`: its file is not here."""
        raise InvalidImageError("an image that a front end holds cannot be decoded again")


class RemoteSlots:
    """The slots of one model in one front end, as the engine sees them.

    Args:
        pixels: uint8 (slots, height, width, 3), which the front end writes.
        give_back: gets the number of a slot that nothing reads any more; on any thread.
    """

    def __init__(self, pixels: Pixels, give_back: Callable[[int], None]) -> None:
        self._pixels, self.give_back = [*pixels], give_back

    def __len__(self) -> int:
        return len(self._pixels)

    def fill(self, job: ImageJob, slot: int, decode_started: float, decoded: float) -> None:
        """Note that a job's pixels are in a slot, which is the job's until it ends."""
        job.lease.on_close = partial(self.give_back, slot)
        job.pixels, job.decode_s, job.is_guess = self._pixels[slot], 0.0, False
        job.decode_started, job.decoded = decode_started, decoded


class RemotePool:
    """The threads of a front end that decode for one model.

    Args:
        threads: how many.
        grant: tells the front end that these jobs were admitted.
        slots: where it decodes into.
        batcher: gets the jobs that are decoded.
        answers: gets the jobs that come when the pool is closed.
    """

    is_lost = False  # a front end that hangs is ended

    def __init__(
        self,
        threads: int,
        grant: Callable[[Sequence[ImageJob]], None],
        slots: RemoteSlots,
        batcher: Batcher,
        answers: Answers,
    ) -> None:
        self.threads, self._grant, self._slots = threads, grant, slots
        self._batcher, self._answers = batcher, answers
        self.queue = DeadlineQueue()

    def put(self, jobs: list[ImageJob]) -> None:
        """Have jobs decoded; hand on at once those that are."""
        decoded, undecoded = [], []
        for job in jobs:
            image = job.source
            # What this process has itself comes from its own callers.
            if not isinstance(image, RemoteImage) or image.slot < 0:
                undecoded.append(job)
                continue
            slot, image.slot = image.slot, -1  # the job's from now on
            self._slots.fill(job, slot, image.decode_started, image.decoded)
            decoded.append(job)
        if decoded:
            self._batcher.put(decoded)
        if undecoded and self.queue.put(undecoded):
            self._grant(undecoded)
        elif undecoded:
            self._answers.fail(undecoded, closing())


class RemoteDecoding:
    """All that a front end decodes for one model; the thread that reads its messages calls.

    Args:
        threads, slow_threads: how many decode, and how many those that are slow.
        grant: tells the front end which jobs were admitted.
        slots: where it decodes into.
        batcher, answers, latency: the model's.
    """

    def __init__(
        self,
        threads: int,
        slow_threads: int,
        grant: Callable[[Sequence[ImageJob]], None],
        slots: RemoteSlots,
        *,
        batcher: Batcher,
        answers: Answers,
        latency: DecodeLatency,
    ) -> None:
        self.slots, self.latency = slots, latency
        self._batcher, self._answers = batcher, answers
        shared = grant, slots, batcher, answers
        self._quick = RemotePool(threads, *shared)
        self._slow = RemotePool(slow_threads, *shared)
        self.pools = Decoding(self._quick, self._slow)

    def take_out(self, job: ImageJob) -> bool:
        """Take a job out of its queue; return False if it has ended there."""
        return self._pool(job).queue.remove(job)

    def slow_down(self, job: ImageJob) -> None:
        """Note that a job has turned out to be slow to decode, and waits again."""
        if self._quick.queue.remove(job):
            job.lease.slow_down()
            job.wait_s = 0.0  # predicted for another way
            if not self._slow.queue.put([job]):
                self._answers.fail([job], closing())

    def ready(self, jobs: Sequence[ImageJob]) -> None:
        """Hand on jobs that were taken out, and whose slots are filled."""
        self._batcher.put(jobs)

    def fail(self, job: ImageJob, error: ServingError) -> None:
        """Fail a job that is still to be decoded, and cannot be."""
        if self.take_out(job):
            self._answers.fail([job], error)

    def drop(self, jobs: Sequence[ImageJob]) -> None:
        """End those jobs that are still to be decoded, and nobody will."""
        if left := [job for job in jobs if self.take_out(job)]:
            self._answers.drop(left)

    def _pool(self, job: ImageJob) -> RemotePool:
        return self._slow if job.lease.is_slow else self._quick
