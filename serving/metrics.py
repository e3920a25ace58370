"""The server's metrics for Prometheus; the registry is passed in, never global."""

from collections.abc import Callable
from functools import partial
from typing import Literal, TypeVar, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from serving.logs import DROPPED
from serving.tallies import MODEL, STAGES, BatchSizes, RateWindow, Stages

Clock = Callable[[], float]
Metric = TypeVar("Metric", Counter, Gauge, Histogram)
Outcome = Literal["ok", "invalid", "expired", "cancelled", "rejected", "failed"]
Refusal = Literal["queue_full", "bytes", "pixels", "share", "deadline", "not_ready"]
BatchReason = Literal["full", "device_free", "deadline", "decoding"]
Work = Literal["decode", "run", "reopen"]

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
REFUSALS: tuple[Refusal, ...] = get_args(Refusal)
BATCH_REASONS: tuple[BatchReason, ...] = get_args(BatchReason)
WORK: tuple[Work, ...] = get_args(Work)

IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)
RATIOS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
INFO = ("runtime", "device", "precision", "digest")


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
