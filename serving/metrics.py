"""The server's metrics for Prometheus; the registry is passed in, never global."""

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import Literal, NamedTuple, TypeVar, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from serving.logs import DROPPED

Clock = Callable[[], float]
Metric = TypeVar("Metric", Counter, Gauge, Histogram)
Outcome = Literal["ok", "invalid", "expired", "cancelled", "rejected", "failed"]
Stage = Literal["decode", "queue", "infer", "total"]
Refusal = Literal["queue_full", "bytes", "pixels", "share", "deadline", "not_ready"]
BatchReason = Literal["full", "device_free", "deadline", "decoding"]
Work = Literal["decode", "run", "reopen"]
Bucket = tuple[str, float] | tuple[str, float, Exemplar]

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
STAGES: tuple[Stage, ...] = get_args(Stage)
REFUSALS: tuple[Refusal, ...] = get_args(Refusal)
BATCH_REASONS: tuple[BatchReason, ...] = get_args(BatchReason)
WORK: tuple[Work, ...] = get_args(Work)

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)
RATIOS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
MODEL = ("model", "version")
INFO = ("runtime", "device", "precision", "digest")


class RateWindow:
    """Events per second over the last `seconds` seconds."""

    def __init__(self, clock: Clock, seconds: int = 10) -> None:
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


class ModelMetrics:
    """One model's metrics, with the labels bound once so that counting needs no lookup."""

    def __init__(self, metrics: "Metrics", name: str, version: str, clock: Clock) -> None:
        bound = {"model": name, "version": version}
        self.images = {o: metrics.images.labels(**bound, outcome=o) for o in OUTCOMES}
        self.rejections = {r: metrics.rejections.labels(**bound, reason=r) for r in REFUSALS}
        self.batches = {r: metrics.batches.labels(**bound, reason=r) for r in BATCH_REASONS}
        self.stages = {s: metrics.stages.of(name, version, s) for s in STAGES}
        self.overdue = {w: metrics.overdue.labels(**bound, work=w) for w in WORK}
        self.overdue_workers = metrics.overdue_workers.labels(**bound)
        self.nonfinite_images = metrics.nonfinite_images.labels(**bound)
        self.batch_images = metrics.batch_images.labels(**bound)
        self.batch_sizes = BatchSizes()
        self.padded_slots = metrics.padded_slots.labels(**bound)
        self.cold_batches = metrics.cold_batches.labels(**bound)
        self.wide_batches = metrics.wide_batches.labels(**bound)
        self.goodput_images = metrics.goodput_images.labels(**bound)
        self.wasted_images = metrics.wasted_images.labels(**bound)
        self.prediction_error = metrics.prediction_error.labels(**bound)
        self.device_ready = partial(metrics.device_ready.labels, name, version)
        self.answered = RateWindow(clock)
        self.queue_images = metrics.queue_images.labels(**bound)
        self.background_images = metrics.background_images.labels(**bound)
        self.inflight_images = metrics.inflight_images.labels(**bound)
        self.inflight_bytes = metrics.inflight_bytes.labels(**bound)
        metrics.images_per_second.labels(**bound).set_function(self.answered.rate)

    def reject(self, reason: Refusal, images: int) -> None:
        """Count images that were refused at admission."""
        self.rejections[reason].inc(images)
        self.images["rejected"].inc(images)


def value(counter: Counter) -> int:
    """Return what a counter with its labels bound shows."""
    [total] = (
        sample.value
        for family in counter.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    )
    return int(total)


class Metrics:
    """Every metric of the server, registered with `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._of_models: list[Counter | Gauge | Histogram] = []
        self.images = self.counter("images", "Images by outcome", "outcome")
        self.rejections = self.counter(
            "rejections", "Images refused at admission, by reason", "reason"
        )
        self.goodput_images = self.counter(
            "goodput_images", "Images answered before their caller's deadline"
        )
        self.wasted_images = self.counter(
            "wasted_images",
            "Images inferred after their caller had cancelled or its deadline had passed",
        )
        self.nonfinite_images = self.counter(
            "nonfinite_images", "Images whose probabilities were not finite numbers"
        )
        self.overdue = self.counter(
            "overdue",
            "Work that was overdue: decodes of an image, runs of a batch, reopenings",
            "work",
        )
        self.batches = self.counter(
            "batches",
            "Batches by what limited their size: a full bucket, a free device, a deadline, or "
            "images that the device would decode for too long",
            "reason",
        )
        self.cold_batches = self.counter(
            "cold_batches", "Batches of a size that had not been warmed up"
        )
        self.wide_batches = self.counter(
            "wide_batches", "Batches that ran on the cores of all instances, alone"
        )
        self.padded_slots = self.counter(
            "padded_slots", "Padding rows of batches that did not fill their bucket"
        )
        self.stages = Stages(registry)
        self.batch_images = self.histogram(
            "batch_images", "Images per batch, without padding", IMAGES
        )
        self.prediction_error = self.histogram(
            "latency_prediction_error_ratio",
            "Error of the predicted batch time, relative to the actual time",
            RATIOS,
        )
        self.images_per_second = self._gauge(
            "images_per_second", "Images answered per second, over the last 10 s"
        )
        self.queue_images = self._gauge("queue_images", "Images waiting for a device")
        self.background_images = self._gauge(
            "background_images", "Images that are slow to decode, waiting for a background thread"
        )
        self.inflight_images = self._gauge(
            "inflight_images", "Images in flight: admitted, not yet answered or dropped"
        )
        self.inflight_bytes = self._gauge("inflight_bytes", "Bytes in flight, as they arrived")
        self.overdue_workers = self._gauge(
            "overdue_workers", "Instances and decode threads whose work is overdue now"
        )
        self.device_ready = self._gauge(
            "device_ready",
            "1 while the instance answers, 0 while it is being reopened or its work is overdue",
            "device",
        )
        self.model_info = self._gauge("model_info", "1; labels say what the model runs on", *INFO)
        self.ready = Gauge("serving_ready", "1 while the server is ready", registry=registry)
        registry.register(DROPPED)

    def model(self, name: str, version: str, clock: Clock) -> ModelMetrics:
        """Return the metrics of one model; rates are taken on `clock`, in seconds."""
        return ModelMetrics(self, name, version, clock)

    def describe(self, name: str, version: str, **info: str) -> None:
        """Set what a model runs on: runtime, device, precision; and its digest."""
        self.model_info.labels(model=name, version=version, **info).set(1)

    def forget(self, name: str, version: str) -> None:
        """Remove the metrics of a model that is no longer loaded."""
        for metric in self._of_models:
            metric.remove_by_labels({"model": name, "version": version})
        self.stages.forget(name, version)

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """Return a new counter of models' versions, forgotten with them."""
        labelled = (*MODEL, *labels)
        return self._kept(Counter(f"serving_{name}_total", text, labelled, registry=self.registry))

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        labelled = (*MODEL, *labels)
        return self._kept(Gauge(f"serving_{name}", text, labelled, registry=self.registry))

    def histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        """Return a new histogram likewise."""
        labelled = (*MODEL, *labels)
        return self._kept(
            Histogram(f"serving_{name}", text, labelled, buckets=buckets, registry=self.registry)
        )

    def _kept(self, metric: Metric) -> Metric:
        self._of_models.append(metric)
        return metric
