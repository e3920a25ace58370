"""Batches on the cores of all instances, for images that come while nothing else runs."""

import logging
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from serving.backends.backend import Backend
from serving.engine.buckets import Buckets, fit
from serving.engine.buffers import Buffers
from serving.engine.latency import BatchLatency, Clock
from serving.threads import is_in_background

logger = logging.getLogger(__name__)

# The warm-up takes turns with one instance for this long for each bucket, at most so many times. It
# does not count the first turn unless that alone took longer than its patience.
TIMED_S, MOST_TURNS = 0.5, 40
PATIENCE_S = 10.0
# A batch that takes more than this share of the time on one core is not worth the other cores.
WORTH = 0.9


class Wide:
    """A backend that runs a batch on the cores of all instances, one at a time.

    As many instances of one thread as there are cores answer the most images per second, but leave
    all cores but one idle when an image comes alone. So while no batch runs, the next one may be
    *wide*, if it holds all images that wait and they are fewer than the instances. Whoever comes
    while it runs gets a batch on one core, as if there were no wide one.

    Args:
        backend: computes on several threads; whoever runs a wide batch uses it, and no two at once.
        buckets: the batch sizes of the instances.
        instances: how many there are.
        latency: knows how long their batches take, and learns how long wide ones do.
        clock: monotonic time, in seconds.

    Attributes:
        sizes: the batch sizes that were found worth it, ascending; none before `warm_up`.
        running: batches of any instance that were taken and have not ended; the batcher counts
            them, under the lock of its queue.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        buckets: Buckets,
        instances: int,
        latency: BatchLatency,
        clock: Clock,
    ) -> None:
        self._backend: Backend | None = backend
        self._buckets = buckets
        self._latency, self._clock = latency, clock
        self._candidates = candidates(buckets.usable, instances)
        self.buffers = Buffers(backend, self._candidates)
        self.sizes: tuple[int, ...] = ()
        self.running = 0

    @property
    def is_alone(self) -> bool:
        """Whether no batch runs but the one that asks."""
        return self.running <= 1

    def choose(self, images: int, instances: int, decode_s: float) -> int:
        """Return the bucket for all images that wait, if they may run wide; else 0.

        Args:
            images: how many wait.
            instances: how many instances answer.
            decode_s: time that a device needs to decode each image first; it decodes one after the
                other what several devices would decode at once.
        """
        if self.running or images >= instances:
            return 0
        size = next((size for size in self.sizes if size >= images), 0)
        later_s = (images - 1) * decode_s
        usual_s = self._latency.usual
        if later_s and usual_s(size, wide=True) + later_s >= usual_s(self._buckets.usable[0]):
            return 0
        return size

    def warm_up(self, run_one: Callable[[], float]) -> dict[int, float]:
        """Find out which sizes are worth it, and how long they take; nothing else may run.

        `run_one` runs the smallest bucket on one instance and returns how long that took, in
        seconds. Images that do not run wide have an instance each, so that is what a wide batch
        must beat, whatever its size.
        """
        times: dict[int, float] = {}
        for size in self._candidates:
            one_s, wide_s = self._measure(size, run_one)
            if wide_s > WORTH * one_s:
                self._log(size, one_s, wide_s, "not worth it")
                break
            self._log(size, one_s, wide_s, "worth it while nothing else runs")
            times[size] = wide_s
        self.learn(times)
        if self._backend:
            self._backend.trim()
        return times

    def learn(self, times: Mapping[int, float]) -> None:
        """Run these sizes wide, and expect them to take so many seconds; without any, close."""
        for size, wide_s in times.items():
            self._latency.seed(size, wide_s, wide=True)
        self.sizes = tuple(times)
        if not times:
            self.close()

    def give_up(self, error: Exception) -> None:
        """Never run wide again. Call it on the thread whose run failed."""
        logger.warning("a wide batch failed: from now on all run on one core", exc_info=error)
        self.sizes = ()
        self.close()

    def close(self) -> None:
        """Free the backend, unless that is done; nothing may run on it."""
        backend, self._backend = self._backend, None
        if backend:
            backend.close()

    def _measure(self, size: int, run_one: Callable[[], float]) -> tuple[float, float]:
        """Return the median times of one instance and of a wide batch of this size, in seconds."""
        started, turns = self._clock(), [(run_one(), self._run(size))]
        while self._clock() < started + (TIMED_S if turns[1:] else PATIENCE_S):
            turns.append((run_one(), self._run(size)))
            if len(turns) == MOST_TURNS:
                break
        counted = turns[1:] or turns
        # What waits for others at the lowest priority takes its usual time only at its best.
        usual = min if is_in_background() else median
        return usual(one for one, _ in counted), usual(wide for _, wide in counted)

    def _run(self, size: int) -> float:
        started = self._clock()
        self.buffers.run(size, size)
        return self._clock() - started

    def _log(self, size: int, one_s: float, wide_s: float, verdict: str) -> None:
        logger.info(
            "a batch of %d takes %.3g ms on the cores of all instances, one of %d on one core "
            "%.3g ms: %s",
            size,
            1e3 * wide_s,
            self._buckets.usable[0],
            1e3 * one_s,
            verdict,
        )


def candidates(buckets: Sequence[int], instances: int) -> list[int]:
    """Return the batch sizes that fewer images than instances may run in."""
    most = min(instances - 1, buckets[-1])
    return sorted({fit(buckets, images) for images in range(1, most + 1)})
