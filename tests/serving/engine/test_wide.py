"""Which images run in a batch on the cores of all instances, by what the warm-up measured."""

from collections.abc import Sequence

import pytest

from images.transform import Pixels
from serving.engine.batcher import Batcher
from serving.engine.buckets import Buckets
from serving.engine.latency import BatchLatency
from serving.engine.wide import MOST_TURNS, Wide, candidates
from tests.serving.engine.jobs import Noted, new_job
from tests.support.bundles import LABELS, SIDE
from tests.support.fake_backend import FakeBackend
from tests.support.serving import VirtualClock


class Bench:
    """Four instances whose smallest batch takes a second, and a wide backend, on a virtual clock.

    A wide batch of n images takes `wide_s[n]` seconds.
    """

    def __init__(self, wide_s: dict[int, float], buckets: Sequence[int] = (1, 2, 4)) -> None:
        self.clock = VirtualClock()
        self.latency = BatchLatency(self.clock)
        self.buckets, self._wide_s = Buckets(buckets, self.latency), wide_s
        self.backend = FakeBackend(len(LABELS), SIDE, self._pass)
        self.wide = Wide(
            self.backend,
            buckets=self.buckets,
            instances=4,
            latency=self.latency,
            clock=self.clock,
        )
        self.batcher = Batcher(
            buckets=self.buckets,
            latency=self.latency,
            answers=Noted(self.clock),
            clock=self.clock,
            wide=self.wide,
        )
        for _ in range(4):
            self.batcher.enter(Free())

    def warm(self) -> "Bench":
        """Warm up; each instance needs a second per image."""
        self.wide.warm_up(lambda: self._take(1.0))
        for size in self.buckets.usable:
            self.latency.seed(size, float(size))
        return self

    def put(self, images: int, decode_s: float = 0.0) -> None:
        jobs = [new_job(self.clock.now + 100, self.clock.now) for _ in range(images)]
        for job in jobs:
            job.decode_s = decode_s
        self.batcher.put(jobs)

    def poll(self) -> tuple[int, int]:
        """Return the images of the next batch, and its bucket if it is wide."""
        batch = self.batcher.poll()
        assert batch
        return len(batch.jobs), batch.wide_size

    def _pass(self, images: Pixels) -> None:
        self._take(self._wide_s[len(images)])

    def _take(self, seconds: float) -> float:
        self.clock.now += seconds
        return seconds


class Free:
    """A device that takes batches."""

    free_at = 0.0


FAST = {1: 0.3, 2: 0.5, 4: 0.8}


@pytest.mark.parametrize(
    ("wide_s", "sizes"),
    [
        (FAST, (1, 2, 4)),
        ({1: 0.3, 2: 0.5, 4: 0.95}, (1, 2)),  # three images each on their own take 1 s
        ({1: 0.95, 2: 1.8, 4: 3.6}, ()),
    ],
)
def test_sizes_run_wide_where_that_was_measured_to_be_faster(
    wide_s: dict[int, float], sizes: tuple[int, ...]
) -> None:
    bench = Bench(wide_s).warm()
    assert bench.wide.sizes == sizes
    assert bench.backend.is_closed == (not sizes)
    assert bench.backend.is_trimmed == bool(sizes)


def test_wide_times_are_predicted_apart_from_those_on_one_core() -> None:
    latency = Bench(FAST).warm().latency
    assert [latency.bound(size) for size in (1, 2, 4)] == [1.0, 2.0, 4.0]
    assert [latency.bound(size, wide=True) for size in (1, 2, 4)] == pytest.approx([0.3, 0.5, 0.8])
    latency.observe(1, 0.6, wide=True)
    for _ in range(20):  # what slows these down slows the others down
        latency.observe(1, 0.6, wide=True)
    assert latency.bound(4) == pytest.approx(8.0)


def test_a_fast_backend_is_not_asked_for_ever() -> None:
    bench = Bench(dict.fromkeys((1, 2, 4), 1e-6))
    bench.wide.warm_up(lambda: 1e-3)
    assert len(bench.backend.batches) == 3 * MOST_TURNS


def test_only_sizes_for_fewer_images_than_instances_are_tried() -> None:
    assert candidates([1, 2, 4, 8, 16], 2) == [1]
    assert candidates([1, 2, 4, 8, 16], 8) == [1, 2, 4, 8]
    assert candidates([1, 2], 8) == [1, 2]
    assert candidates([4, 8], 2) == [4]


def test_while_nothing_runs_all_that_wait_run_wide_together() -> None:
    bench = Bench(FAST).warm()
    bench.put(3)
    assert bench.poll() == (3, 4)
    bench.batcher.end()
    bench.put(1)
    assert bench.poll() == (1, 1)


def test_as_many_images_as_instances_have_one_each() -> None:
    bench = Bench(FAST).warm()
    bench.put(4)
    assert [bench.poll() for _ in range(4)] == [(1, 0)] * 4


def test_while_another_batch_runs_none_is_wide() -> None:
    bench = Bench(FAST).warm()
    for _ in range(3):
        bench.put(1)
        bench.poll()
    for _ in range(2):
        bench.batcher.end()
    bench.put(1)
    assert bench.poll() == (1, 0)
    for _ in range(2):
        bench.batcher.end()
    bench.put(1)
    assert bench.poll() == (1, 1)


def test_several_images_are_spread_where_one_device_would_decode_them_too_slowly() -> None:
    bench = Bench(FAST).warm()
    bench.put(3, decode_s=0.15)  # wide, the last is decoded 0.3 s later, and 0.8 s are 1.1
    assert bench.poll() == (1, 0)
    bench = Bench(FAST).warm()
    bench.put(3, decode_s=0.05)
    assert bench.poll() == (3, 4)
