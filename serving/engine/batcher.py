"""Jobs wait here for a device and leave in batches: how large, and which jobs."""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from serving.engine.answers import Answers
from serving.engine.buckets import Buckets
from serving.engine.job import ImageJob
from serving.engine.latency import BatchLatency, Clock
from serving.engine.queue import DeadlineQueue
from serving.engine.wide import Wide
from serving.errors import UnavailableError
from serving.metrics import BatchReason

LOST = (
    "the model cannot answer now: its devices are being reopened, or its work is overdue; "
    "try another server"
)


class HasFreeAt(Protocol):
    """What batches are formed for: a device, or the simulation of one."""

    @property
    def free_at(self) -> float:
        """When its batch is expected to end, on the engine's clock, in seconds."""


class Batch(NamedTuple):
    """Jobs that run together, why there are not more, and whether the device idled before.

    They run wide if `wide_size` is the bucket for that, and on the device's own cores if it is 0.
    """

    jobs: list[ImageJob]
    reason: BatchReason
    after_idling: bool = True
    wide_size: int = 0


class Batcher:
    """Forms a batch at the moment when a device is free to run it; any thread may call.

    Nothing here waits for a batch to fill: batches grow while all devices are busy. A device takes
    its share of what waits, so that a burst does not end up as one batch on one of several devices.
    Jobs may arrive undecoded: then the device decodes them first. A batch takes no image whose
    decoding would make the first one late, nor more of them than are decoded in about the time of a
    batch: meanwhile the device sees nobody whose deadline is earlier.

    Devices register here. Jobs wait while every device is being reopened; once reopening the last
    one has failed, or what it does is overdue, the waiting jobs fail.

    Args:
        buckets: batch sizes that run; a batch fills its bucket while there are jobs.
        latency: how long they take.
        answers: gets the jobs that leave without a batch: cancelled, expired, or too late even for
            the smallest one.
        clock: monotonic time, in seconds.
        wide: runs batches on the cores of all devices while no other batch runs; None if nothing
            does.
    """

    def __init__(
        self,
        *,
        buckets: Buckets,
        latency: BatchLatency,
        answers: Answers,
        clock: Clock,
        wide: Wide | None = None,
    ) -> None:
        self._buckets, self._latency, self._wide = buckets, latency, wide
        self._answers, self._clock = answers, clock
        self.queue = DeadlineQueue()
        # Replaced as a whole, so that readers need no lock.
        self.serving: tuple[HasFreeAt, ...] = ()
        self.is_lost = True  # whether no device takes batches and none may soon
        # Two facts about a device, from two threads: which of these it is in, and if it is overdue.
        self._entered: tuple[HasFreeAt, ...] = ()
        self._reopening: tuple[HasFreeAt, ...] = ()
        self._overdue: tuple[HasFreeAt, ...] = ()

    def enter(self, device: HasFreeAt) -> None:
        """Begin to form batches for a device."""
        self._move(device, serving=True)

    def pause(self, device: HasFreeAt) -> None:
        """Form no batches for a device while it is being reopened; `enter` ends that."""
        self._move(device, reopening=True)

    def leave(self, device: HasFreeAt) -> None:
        """Form no batches for a device; if it was the last, fail the jobs that wait."""
        self._move(device)

    def suspend(self, device: HasFreeAt) -> None:
        """Form no batches for a device whose work is overdue; if it was the last, as `leave`."""
        with self.queue.lock:
            self._overdue += (device,)
            self._count()
        self._fail_if_lost()

    def resume(self, device: HasFreeAt) -> None:
        """Undo `suspend`."""
        with self.queue.lock:
            self._overdue = _without(self._overdue, device)
            self._count()

    def put(self, jobs: Sequence[ImageJob]) -> None:
        """Add jobs; they fail if the batcher is closed."""
        now = self._clock()
        for job in jobs:
            job.queued = now
        if not self.queue.put(jobs):
            self._answers.fail(list(jobs), closing())
        else:  # the last device may be lost since they were admitted
            self._fail_if_lost()

    def take(self) -> Batch | None:
        """Wait for the next batch and return it; None when the batcher is closed.

        Call `end` when it has run.
        """
        idled = False
        while True:
            with self.queue.lock:
                idled = idled or not len(self.queue)
                if not self.queue.wait():
                    return None
            if batch := self.poll():
                return batch._replace(after_idling=idled)
            idled = True

    def poll(self) -> Batch | None:
        """Return the next batch, or None if no live job waits."""
        dead: list[ImageJob] = []
        with self.queue.lock:
            now = self._clock()
            waiting = len(self.queue)
            first = self._next(now, math.inf, dead)
            batch = self._fill(first, waiting, now, dead) if first else None
            if batch and self._wide:
                self._wide.running += 1
        if dead:
            self._answers.drop(dead)
        return batch

    def end(self) -> None:
        """Note that a batch has run."""
        if self._wide:
            with self.queue.lock:
                self._wide.running -= 1

    def _move(self, device: HasFreeAt, *, serving: bool = False, reopening: bool = False) -> None:
        with self.queue.lock:
            self._entered = _without(self._entered, device) + (device,) * serving
            self._reopening = _without(self._reopening, device) + (device,) * reopening
            self._count()
        self._fail_if_lost()

    def _count(self) -> None:
        self.serving = _without(self._entered, *self._overdue)
        self.is_lost = not (self.serving or _without(self._reopening, *self._overdue))

    def _fail_if_lost(self) -> None:
        if self.is_lost:
            self._answers.fail(self.queue.clear(), UnavailableError(LOST))

    def _fill(self, first: ImageJob, waiting: int, now: float, dead: list[ImageJob]) -> Batch:
        """Return a batch of one device's share, as large as the first job allows."""
        left_s, devices = first.due - now, len(self.serving)
        wide_size = self._wide.choose(waiting, devices, first.decode_s) if self._wide else 0
        share = waiting if wide_size else math.ceil(waiting / max(1, devices))
        size = wide_size or self._buckets.choose(share, left_s, first.decode_s)
        limit_s = self._buckets.decode_limit_s()
        in_time_s = left_s - self._latency.bound(size, wide=bool(wide_size))
        jobs, spare_s = [first], min(limit_s, in_time_s) - first.decode_s
        while len(jobs) < size and (job := self._next(now, spare_s, dead)):
            jobs.append(job)
            spare_s -= job.decode_s
        if len(jobs) < size and len(self.queue):  # those that are left take too long to decode
            reason: BatchReason = "decoding" if limit_s < in_time_s else "deadline"
        else:
            reason = self._reason(len(jobs), size, share)
        return Batch(jobs, reason, wide_size=wide_size)

    def _reason(self, images: int, size: int, share: int) -> BatchReason:
        largest = self._buckets.efficient()[-1]
        if images < size:
            return "device_free"
        if share <= size < largest:
            return "device_free"
        return "full" if size == largest else "deadline"

    def _next(self, now: float, spare_s: float, dead: list[ImageJob]) -> ImageJob | None:
        """Take out the next live job, unless decoding it takes longer than there is to spare."""
        is_known = not self._latency.is_stale(now)
        smallest_s = self._latency.usual(self._buckets.usable[0]) if is_known else 0.0
        while job := self.queue.first():
            if job.is_dead(now + smallest_s + (job.known_decode_s if is_known else 0.0)):
                dead.append(self.queue.pop())
            elif job.decode_s and job.decode_s > spare_s:
                return None
            else:
                return self.queue.pop()
        return None


def _without(devices: tuple[HasFreeAt, ...], *others: HasFreeAt) -> tuple[HasFreeAt, ...]:
    return tuple(device for device in devices if device not in others)


def closing() -> UnavailableError:
    """Return the error of what waits when a model closes."""
    return UnavailableError("the server is shutting down")
