"""What the server counts, in Prometheus form; the registry is passed in, never global."""

import time
from collections import deque
from collections.abc import Callable
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Clock = Callable[[], float]
Outcome = Literal["ok", "invalid", "expired", "cancelled", "rejected", "failed"]
Stage = Literal["decode", "queue", "infer", "total"]
Reason = Literal["queue_full", "deadline"]

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
STAGES: tuple[Stage, ...] = get_args(Stage)
REASONS: tuple[Reason, ...] = get_args(Reason)

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)
MODEL = ("model", "version")


class RateWindow:
    """Events per second over the last `seconds` seconds; one thread adds and reads."""

    def __init__(self, clock: Clock = time.monotonic, seconds: int = 10) -> None:
        self._clock, self._seconds = clock, seconds
        self._counts: deque[tuple[int, int]] = deque(maxlen=seconds)

    def add(self, events: int) -> None:
        """Count events at this moment."""
        second = int(self._clock())
        if self._counts and self._counts[-1][0] == second:
            events += self._counts.pop()[1]
        self._counts.append((second, events))

    def rate(self) -> float:
        """Return events per second."""
        now = self._clock()
        oldest = int(now) - self._seconds + 1
        return sum(n for second, n in self._counts if second >= oldest) / (now - oldest)


class ModelMetrics:
    """One model's metrics, their labels bound once, so that counting looks nothing up."""

    def __init__(self, metrics: "Metrics", name: str, version: str) -> None:
        bound = {"model": name, "version": version}
        self.images = {o: metrics.images.labels(**bound, outcome=o) for o in OUTCOMES}
        self.rejections = {r: metrics.rejections.labels(**bound, reason=r) for r in REASONS}
        self.stages = {s: metrics.stages.labels(**bound, stage=s) for s in STAGES}
        self.batch_images = metrics.batch_images.labels(**bound)
        self.padded_slots = metrics.padded_slots.labels(**bound)
        self.queue_images = metrics.queue_images.labels(**bound)
        self.inflight_images = metrics.inflight_images.labels(**bound)
        self.answered = RateWindow()
        metrics.images_per_second.labels(**bound).set_function(self.answered.rate)

    def reject(self, reason: Reason, images: int) -> None:
        """Count images that were refused at admission."""
        self.rejections[reason].inc(images)
        self.images["rejected"].inc(images)


class Metrics:
    """Every metric of the server, registered with `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.images = Counter(
            "serving_images_total",
            "Images by how they ended",
            (*MODEL, "outcome"),
            registry=registry,
        )
        self.rejections = Counter(
            "serving_rejections_total",
            "Images refused at admission, by reason",
            (*MODEL, "reason"),
            registry=registry,
        )
        self.stages = Histogram(
            "serving_stage_seconds",
            "Time of an answered image per stage",
            (*MODEL, "stage"),
            buckets=SECONDS,
            registry=registry,
        )
        self.batch_images = Histogram(
            "serving_batch_images",
            "Images per batch, padding excluded",
            MODEL,
            buckets=IMAGES,
            registry=registry,
        )
        self.padded_slots = Counter(
            "serving_padded_slots_total", "Empty rows of batches", MODEL, registry=registry
        )
        self.images_per_second = self._gauge("images_per_second", "Images answered, over 10 s")
        self.queue_images = self._gauge("queue_images", "Decoded images that wait for a device")
        self.inflight_images = self._gauge("inflight_images", "Images admitted and not ended")
        self.model_info = Gauge(
            "serving_model_info",
            "1; the labels tell what is in use",
            (*MODEL, "runtime", "device", "precision", "digest"),
            registry=registry,
        )
        self.ready = Gauge("serving_ready", "1 while the server answers", registry=registry)

    def model(self, name: str, version: str) -> ModelMetrics:
        """Return the metrics of one model."""
        return ModelMetrics(self, name, version)

    def _gauge(self, name: str, help_text: str) -> Gauge:
        return Gauge(f"serving_{name}", help_text, MODEL, registry=self.registry)
