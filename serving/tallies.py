"""What Prometheus' own metrics do not count, or not quickly enough for every image."""

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Literal, NamedTuple, get_args

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

Stage = Literal["decode", "queue", "infer", "total"]
Bucket = tuple[str, float] | tuple[str, float, Exemplar]

STAGES: tuple[Stage, ...] = get_args(Stage)
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
MODEL = ("model", "version")  # the labels of each model's metrics


class RateWindow:
    """Events per second over the last `seconds` seconds."""

    def __init__(self, clock: Callable[[], float], seconds: int = 10) -> None:
        self._clock, self._seconds = clock, seconds
        self._counts: deque[tuple[int, int]] = deque(maxlen=seconds)
        self._lock = threading.Lock()

    def add(self, events: int) -> None:
        """Count events at this moment."""
        second = int(self._clock())
        with self._lock:
            if self._counts and self._counts[-1][0] == second:
                events += self._counts.pop()[1]
            self._counts.append((second, events))

    def rate(self) -> float:
        """Return events per second."""
        now = self._clock()
        oldest = int(now) - self._seconds + 1
        with self._lock:
            events = sum(n for second, n in self._counts if second >= oldest)
        return events / (now - oldest)


class StageTimes:
    """The times of one model's images in one stage, as a histogram; any thread may call."""

    def __init__(self) -> None:
        self._images = [0] * (len(SECONDS) + 1)  # by bucket; the last has no bound
        self._seconds = 0.0
        self._exemplars: list[Exemplar | None] = [None] * (len(SECONDS) + 1)
        self._lock = threading.Lock()

    def observe(self, seconds: Sequence[float]) -> None:
        """Count the images of a batch."""
        with self._lock:
            for image_s in seconds:
                self._images[bisect_left(SECONDS, image_s)] += 1
            self._seconds += sum(seconds)

    def exemplify(self, image_s: float, trace_id: str) -> None:
        """Name the trace of an image that took so long, in the place of the last such one."""
        self._exemplars[bisect_left(SECONDS, image_s)] = Exemplar({"trace_id": trace_id}, image_s)

    @property
    def total_s(self) -> float:
        """The sum of their times, in seconds."""
        return self._seconds

    def sample(self) -> tuple[list[Bucket], float]:
        """Return how many images took no longer than each bound, and the sum of their times.

        With each bound comes an image that took longer than the bound before, if one was traced.
        """
        with self._lock:
            counts, seconds = [*accumulate(self._images)], self._seconds
        bounds = map(floatToGoString, (*SECONDS, float("inf")))
        buckets: list[Bucket] = [
            (bound, count, exemplar) if exemplar else (bound, count)
            for bound, count, exemplar in zip(bounds, counts, self._exemplars, strict=True)
        ]
        return buckets, seconds


class Stages(Collector):
    """The histograms of all models and stages.

    Prometheus' own takes a lock and a microsecond for each image and stage, on gRPC's thread.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._times: dict[tuple[str, str, Stage], StageTimes] = {}
        registry.register(self)

    def of(self, name: str, version: str, stage: Stage) -> StageTimes:
        """Return the times of a model's images in a stage."""
        return self._times.setdefault((name, version, stage), StageTimes())

    def forget(self, name: str, version: str) -> None:
        """Forget the times of a model."""
        for stage in STAGES:
            self._times.pop((name, version, stage), None)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield them for a scrape."""
        family = HistogramMetricFamily(
            "serving_stage_seconds",
            "Time that answered images spent in each stage, in seconds",
            labels=(*MODEL, "stage"),
        )
        for labels, times in tuple(self._times.items()):
            family.add_metric(labels, *times.sample())
        yield family


class BatchTotals(NamedTuple):
    """Batches of one size: how many, and how long they took, in seconds.

    Attributes:
        batches: how many.
        decode_s: time in which their images were decoded.
        infer_s: time in which they ran.
    """

    batches: int = 0
    decode_s: float = 0.0
    infer_s: float = 0.0


NONE = BatchTotals()


class BatchSizes:
    """One model's batches by their exact number of images; any thread may call."""

    def __init__(self) -> None:
        self._totals: dict[int, BatchTotals] = {}
        self._last = 0.0
        self._lock = threading.Lock()

    def observe(self, images: int, decode_s: float, infer_s: float, finished: float) -> None:
        """Count a batch that ended at `finished`, on the engine's clock."""
        with self._lock:
            batches, before_s, inferred_s = self._totals.get(images, NONE)
            self._totals[images] = BatchTotals(
                batches + 1, before_s + decode_s, inferred_s + infer_s
            )
            self._last = finished

    def sample(self) -> tuple[dict[int, BatchTotals], float]:
        """Return the totals by size, smallest first, and when the last one ended; 0 if none did."""
        with self._lock:
            return dict(sorted(self._totals.items())), self._last
