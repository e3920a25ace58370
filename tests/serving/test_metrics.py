import time

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from serving.metrics import Metrics, value
from serving.tallies import SECONDS, BatchSizes, BatchTotals, RateWindow
from tests.support.serving import VirtualClock

NAMES = (
    "images_total",
    "images_per_second",
    "stage_seconds_bucket",
    "batch_images_bucket",
    "padded_slots_total",
    "queue_images",
    "background_images",
    "inflight_images",
    "inflight_bytes",
    "rejections_total",
    "batches_total",
    "cold_batches_total",
    "wide_batches_total",
    "goodput_images_total",
    "wasted_images_total",
    "latency_prediction_error_ratio_bucket",
    "ready",
)


def test_every_metric_is_there_before_the_first_request() -> None:
    registry = CollectorRegistry()
    Metrics(registry).model("net", "1", time.monotonic)
    text = generate_latest(registry).decode()
    for name in NAMES:
        assert f"\nserving_{name}" in text


def test_two_registries_do_not_share() -> None:
    first, second = CollectorRegistry(), CollectorRegistry()
    Metrics(first).model("net", "1", time.monotonic).images["ok"].inc()
    Metrics(second).model("net", "1", time.monotonic)
    labels = {"model": "net", "version": "1", "outcome": "ok"}
    assert first.get_sample_value("serving_images_total", labels) == 1
    assert second.get_sample_value("serving_images_total", labels) == 0


def test_the_times_of_batches_are_a_histogram_of_their_images() -> None:
    registry, other = CollectorRegistry(), CollectorRegistry()
    times = Metrics(registry).model("net", "1", time.monotonic).stages["infer"]
    expected = Histogram("serving_stage_seconds", "", registry=other, buckets=SECONDS)
    for batch in ([0.0, 0.001, 0.3], [], [10.0, 10.1, 0.0011]):
        times.observe(batch)
        for seconds in batch:
            expected.observe(seconds)
    [family] = other.collect()
    for sample in family.samples:
        if not sample.name.endswith("_created"):
            labels = {**sample.labels, "model": "net", "version": "1", "stage": "infer"}
            assert registry.get_sample_value(sample.name, labels) == sample.value


def test_batches_are_counted_by_their_exact_size() -> None:
    sizes = BatchSizes()
    assert sizes.sample() == ({}, 0.0)
    for images, finished in ((8, 1.0), (3, 2.0), (8, 3.0)):
        sizes.observe(images, 0.5, 0.25, finished)
    assert sizes.sample() == ({3: BatchTotals(1, 0.5, 0.25), 8: BatchTotals(2, 1.0, 0.5)}, 3.0)


def test_a_counter_has_the_value_that_a_scrape_shows() -> None:
    counter = Metrics(CollectorRegistry()).model("net", "1", time.monotonic).images["ok"]
    counter.inc(41)
    assert value(counter) == 41


def test_a_steady_rate_is_that_rate() -> None:
    clock = VirtualClock()
    window = RateWindow(clock, seconds=10)
    for _ in range(200):
        clock.now += 0.1
        window.add(5)
    assert window.rate() == pytest.approx(50, rel=0.06)


def test_the_rate_falls_to_nothing_when_nothing_happens() -> None:
    clock = VirtualClock()
    window = RateWindow(clock, seconds=10)
    window.add(1000)
    assert window.rate() > 100
    clock.now += 5
    assert window.rate() > 50
    clock.now += 5
    assert window.rate() == 0
