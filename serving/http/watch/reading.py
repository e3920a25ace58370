"""What a model has counted so far, and what of that happened between two looks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import Gauge

from serving.engine.model import Model
from serving.metrics import ModelMetrics, value
from serving.tallies import SECONDS, BatchSizes, StageTimes


@dataclass(frozen=True)
class Reading:
    """The counters of a model at one moment; those of images and batches only grow.

    Attributes:
        images: images by outcome.
        refusals: images refused at admission, by reason.
        goodput: images answered before their deadline.
        batches: batches by what limited their size.
        sizes: batches by their exact number of images.
        stages: by stage, images that took no longer than each bound of `SECONDS`, and all.
        devices: by instance, the time in which it ran batches, in seconds, and their images.
    """

    images: Mapping[str, int]
    refusals: Mapping[str, int]
    goodput: int
    batches: Mapping[str, int]
    sizes: Mapping[int, int]
    stages: Mapping[str, Sequence[int]]
    devices: Mapping[str, tuple[float, int]]

    @classmethod
    def of(cls, model: Model) -> "Reading":
        """Read the counters of a model."""
        counted = model.metrics
        return cls(
            images={outcome: value(count) for outcome, count in counted.images.items()},
            refusals={reason: value(count) for reason, count in counted.rejections.items()},
            goodput=value(counted.goodput_images),
            batches={reason: value(count) for reason, count in counted.batches.items()},
            sizes=_sizes(counted.batch_sizes),
            stages={stage: _cumulated(times) for stage, times in counted.stages.items()},
            devices={
                device.name: (device.runner.ran_s, device.runner.ran_images)
                for device in model.devices
            },
        )


def describe(model: Model, now: Reading, before: Reading, seconds: float) -> dict[str, Any]:
    """Return what a model did between two readings, for JSON; rates are per second.

    Args:
        model: the model, for what it holds at this moment.
        now: its counters.
        before: the same, earlier.
        seconds: the time between the two, in seconds.
    """
    return {
        "name": model.name,
        "version": model.version,
        "images": _rates(now.images, before.images, seconds),
        "goodput": round((now.goodput - before.goodput) / seconds, 2),
        "refusals": _rates(now.refusals, before.refusals, seconds),
        **_held(model.metrics),
        "batches": _rates(now.batches, before.batches, seconds),
        "batch_sizes": _grown(now.sizes, before.sizes),
        "stages": {
            stage: _quantiles([a - b for a, b in zip(counts, before.stages[stage], strict=True)])
            for stage, counts in now.stages.items()
        },
        "devices": [_device(one, model, now, before, seconds) for one in now.devices],
    }


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Return the time that this share of the images did not exceed, in seconds; None of none.

    Args:
        counts: how many took no longer than each bound of `SECONDS`, and last how many there are.
        share: 0 to 1.

    Within a bucket, times count as evenly spread; those beyond the last bound count as that bound.
    """
    if not counts[-1]:
        return None
    rank = share * counts[-1]
    below, least_s = 0, 0.0
    for count, most_s in zip(counts, SECONDS, strict=False):
        if count >= rank and count > below:
            return least_s + (most_s - least_s) * (rank - below) / (count - below)
        below, least_s = count, most_s
    return SECONDS[-1]


def _device(
    name: str, model: Model, now: Reading, before: Reading, seconds: float
) -> dict[str, Any]:
    ran_s, images = (a - b for a, b in zip(now.devices[name], before.devices[name], strict=True))
    [device] = [one for one in model.devices if one.name == name]
    return {
        "name": name,
        "ready": device in model.batcher.serving,
        # A batch counts when it ends: one that began before may be longer than the time between.
        "busy": round(min(1.0, ran_s / seconds), 3),
        "images": round(images / seconds, 2),
    }


def _held(counted: ModelMetrics) -> dict[str, int]:
    gauges = {
        "queue": counted.queue_images,
        "background": counted.background_images,
        "inflight": counted.inflight_images,
    }
    return {name: _shown(gauge) for name, gauge in gauges.items()}


def _shown(gauge: Gauge) -> int:
    [shown] = (sample.value for family in gauge.collect() for sample in family.samples)
    return int(shown)


def _sizes(sizes: BatchSizes) -> dict[int, int]:
    totals, _ = sizes.sample()
    return {images: total.batches for images, total in totals.items()}


def _cumulated(times: StageTimes) -> list[int]:
    buckets, _ = times.sample()
    return [int(bucket[1]) for bucket in buckets]


def _rates(now: Mapping[str, int], before: Mapping[str, int], seconds: float) -> dict[str, float]:
    return {name: round((count - before[name]) / seconds, 2) for name, count in now.items()}


def _grown(now: Mapping[int, int], before: Mapping[int, int]) -> dict[str, int]:
    grown = {images: count - before.get(images, 0) for images, count in now.items()}
    return {str(images): count for images, count in grown.items() if count}


def _quantiles(counts: Sequence[int]) -> dict[str, float | None]:
    shares = {"p50_ms": 0.5, "p99_ms": 0.99}
    found = {name: quantile(counts, share) for name, share in shares.items()}
    return {name: None if s is None else round(1000 * s, 3) for name, s in found.items()}
