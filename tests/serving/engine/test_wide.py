"""Batches on the cores of all instances: when, and when no longer."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from images.transform import Pixels
from serving.engine.batcher import Batcher
from serving.engine.buckets import Buckets
from serving.engine.latency import BatchLatency
from serving.engine.wide import MOST_TURNS, Wide, candidates
from serving.errors import DeviceLostError
from tests.serving.engine.jobs import Noted, new_job
from tests.support.bundles import LABELS, SIDE
from tests.support.fake_backend import FakeBackend
from tests.support.serving import Gate, Rig, VirtualClock, classes, fake_backend, until


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


class WideRig(Rig):
    """A model of two fake devices, with a wide backend that answers alike."""

    def __post_init__(self) -> None:
        self.wide_gate = Gate(is_open=True)
        self.wide = self.wide_backend = fake_backend(self.wide_gate)
        super().__post_init__()
        assert self.model.wide
        self.model.wide.sizes = (1,)

    async def idle(self) -> None:
        """Wait until no batch runs: a device notes that just after its answers."""
        await until(lambda: self.model.wide is not None and not self.model.wide.running)

    @property
    def wide_batches(self) -> int:
        return len(self.wide_backend.batches)


pytest_decoding = pytest.mark.usefixtures("decoding")


@pytest_decoding
async def test_who_comes_alone_is_answered_by_a_wide_batch(tiny: Path) -> None:
    async with WideRig(tiny, devices=2, gate=Gate(is_open=True)).running() as rig:
        for value in (3, 4):
            await rig.idle()
            assert classes(await rig.classify(value)) == [value]
        assert rig.sample("wide_batches_total") == 2
        assert rig.wide_backend.batches == [(1, 1)] * 2
        assert not any(backend.batches for backend in rig.backends)
        assert classes(await rig.classify(1, 2)) == [1, 2]
    assert rig.wide_backend.is_closed


@pytest_decoding
async def test_who_comes_beside_others_is_answered_on_one_core(tiny: Path) -> None:
    async with WideRig(tiny, devices=2).running() as rig:
        assert rig.model.wide
        rig.model.wide.sizes = ()
        first = await rig.busy()
        rig.model.wide.sizes = (1,)
        second = rig.classify(1)
        await rig.gate.wait()
        rig.gate.open()
        assert classes(await first + await second) == [0, 1]
        assert rig.wide_batches == 0
        await rig.idle()
        assert classes(await rig.classify(2)) == [2]
        assert rig.wide_batches == 1


async def test_a_batch_that_is_decoded_while_another_comes_runs_on_one_core(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rig, "decode_threads", 0)
    async with WideRig(tiny, devices=2).running() as rig:
        wide = rig.model.wide
        assert wide
        monkeypatch.setattr(type(wide), "is_alone", property(lambda _: False))
        request = rig.classify(5)
        await rig.gate.wait()
        rig.gate.open()
        assert classes(await request) == [5]
        assert rig.wide_batches == 0


@pytest_decoding
@pytest.mark.parametrize("error", [DeviceLostError("gone"), ValueError("nonsense")])
async def test_a_wide_batch_that_fails_runs_on_one_core_and_none_is_wide_again(
    tiny: Path, error: Exception
) -> None:
    def fail(_: Pixels) -> None:
        raise error

    async with WideRig(tiny, devices=2, gate=Gate(is_open=True)).running() as rig:
        rig.wide_backend.before_run = fail
        assert classes(await rig.classify(4)) == [4]
        assert rig.wide_backend.is_closed
        assert classes(await rig.classify(5)) == [5]
    assert rig.wide_batches == 1
    assert rig.sample("wide_batches_total") == 0
    assert rig.images("failed") == 0


@pytest_decoding
async def test_after_a_device_was_lost_batches_run_wide_again(tiny: Path) -> None:
    rig = WideRig(tiny, devices=2, gate=Gate(is_open=True))
    async with rig.running():
        assert rig.model.wide
        for backend in rig.backends:
            backend.before_run = lose
        rig.model.wide.sizes = ()
        await rig.classify(1)
        await until(lambda: len(rig.backends) == 3 and rig.model.ready)
        rig.model.wide.sizes = (1,)
        await until(lambda: len(rig.model.batcher.serving) == 2)
        await rig.idle()
        assert classes(await rig.classify(2)) == [2]
        assert rig.wide_batches == 1


def lose(_: Pixels) -> None:
    raise DeviceLostError("the worker died")


async def test_in_a_burst_at_most_the_first_is_wide(tiny: Path) -> None:
    async with WideRig(tiny, devices=2, gate=Gate(is_open=True)).running() as rig:
        rig.wide_gate = Gate()
        rig.wide_backend.before_run = rig.wide_gate
        first = rig.classify(0)
        await rig.wide_gate.wait()
        others = [rig.classify(value) for value in range(1, 6)]
        answers = await asyncio.gather(*others)
        assert [classes(answer) for answer in answers] == [[1], [2], [3], [4], [5]]
        rig.wide_gate.open()
        assert classes(await first) == [0]
        assert rig.wide_batches == 1
