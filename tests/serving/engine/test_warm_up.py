"""What a device learns before it serves, on a virtual clock."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest

from images.transform import Pixels
from serving.engine import warm_up
from serving.engine.batcher import Batcher
from serving.engine.buckets import Buckets
from serving.engine.decode import Decoder
from serving.engine.device import Device
from serving.engine.latency import BatchLatency
from serving.engine.runner import Runner
from serving.engine.warm_up import MOST_ROUNDS, waited_s
from tests.serving.engine.jobs import Noted, new_metrics
from tests.support.bundles import LABELS, SIDE
from tests.support.fake_backend import FakeBackend
from tests.support.serving import VirtualClock

Times = Callable[[int, int], float]


class Warming:
    """Warms a device whose run of a batch size takes `times(size, round)` seconds."""

    def __init__(
        self,
        times: Times,
        on_run: Callable[[Buckets], object] = lambda _: None,
        sizes: Sequence[int] = (1, 4),
    ) -> None:
        self.clock, self._times, self._on_run = VirtualClock(), times, on_run
        self.latency = BatchLatency(self.clock)
        self.buckets = Buckets(sizes, self.latency)
        self.warm_up()

    def warm_up(self) -> None:
        """Warm up one more device of the same model."""
        self.backend = FakeBackend(len(LABELS), SIDE, self._pass)
        answers = Noted(self.clock)
        Device(
            "cpu#0",
            self.backend,
            lambda _: self.backend,
            runner=Runner(
                self.backend, self.buckets, self.latency, answers, cast("Decoder", None), self.clock
            ),
            buckets=self.buckets,
            latency=self.latency,
            batcher=Batcher(
                buckets=self.buckets, latency=self.latency, answers=answers, clock=self.clock
            ),
            clock=self.clock,
            gauge=new_metrics(self.clock).device_ready("cpu#0"),
            changed=lambda: None,
        ).warm_up()

    @property
    def learnt(self) -> tuple[float, float]:
        return self.latency.usual(1), self.latency.usual(4)

    def _pass(self, images: Pixels) -> None:
        size = len(images)
        turn = sum(bucket == size for _, bucket in self.backend.batches) - 1
        self.clock.now += self._times(size, turn)
        self._on_run(self.buckets)


def test_the_first_runs_are_not_counted() -> None:
    warming = Warming(lambda size, turn: 0.1 * size if turn else 3.0)
    assert warming.learnt == pytest.approx((0.1, 0.4))


def test_first_runs_that_took_long_are_not_repeated() -> None:
    warming = Warming(lambda size, _: 5.0 * size)
    assert warming.learnt == (5.0, 20.0)
    assert warming.backend.batches == [(1, 1), (4, 4)]


def test_sizes_take_turns_and_a_busy_moment_is_outvoted() -> None:
    warming = Warming(lambda size, turn: 0.3 if (size, turn) == (1, 2) else 0.02 * size)
    assert warming.learnt == pytest.approx((0.02, 0.08))
    assert warming.backend.batches[:4] == [(1, 1), (4, 4), (1, 1), (4, 4)]
    assert 1.0 <= warming.clock.now - 100.0 < 1.2


def test_sizes_that_have_lost_leave_their_turns_to_the_others() -> None:
    per_image = {1: 2.0e-3, 2: 1.8e-3, 4: 1.8e-3, 8: 2.5e-3, 16: 2.7e-3, 32: 2.8e-3}
    warming = Warming(lambda size, _: size * per_image[size], sizes=tuple(per_image))
    runs = Counter(bucket for _, bucket in warming.backend.batches)
    assert runs[1] == runs[2] == runs[4] > 5
    assert runs[8] == runs[16] == runs[32] == 2, "the first, and one that counts"
    assert warming.buckets.efficient() == (1, 2, 4)


def test_another_device_leaves_out_the_sizes_that_have_lost() -> None:
    warming = Warming(lambda size, _: 0.02 * size if size == 1 else 0.03 * size)
    assert warming.buckets.efficient() == (1,)
    warming.warm_up()
    assert {bucket for _, bucket in warming.backend.batches} == {1}


def test_time_that_other_programs_took_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch of four is interrupted, as on a busy machine every long one is."""
    waited = 0.0

    def times(size: int, _: int) -> float:
        nonlocal waited
        lost = 0.02 if size == 4 else 0.0
        waited += lost
        return 0.005 * size + lost

    monkeypatch.setattr(warm_up, "waited_s", lambda: waited)
    warming = Warming(times)
    assert warming.buckets.efficient() == (1, 4)
    assert warming.latency.at_warm_up(4) == pytest.approx(0.02)
    assert warming.latency.usual(4) > 0.02, "what callers should expect"


def test_linux_tells_how_long_a_thread_waited() -> None:
    """On one core, of two threads that are busy one waits."""
    core = {min(os.sched_getaffinity(0))}
    stop = threading.Event()

    def wait_busily() -> float:
        os.sched_setaffinity(0, core)  # of this thread
        before = waited_s()
        while not stop.is_set():
            if waited_s() - before > 0.05:
                stop.set()
        return waited_s() - before

    with ThreadPoolExecutor(2) as pool:
        assert max(pool.map(lambda _: wait_busily(), range(2))) > 0.05


def test_without_it_the_clock_alone_decides(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(warm_up, "SCHEDSTAT", tmp_path / "missing")
    assert waited_s() == 0


def test_a_fast_device_is_not_asked_for_ever() -> None:
    assert len(Warming(lambda *_: 1e-6).backend.batches) == 2 * (1 + MOST_ROUNDS)


def test_another_device_may_retire_a_size_meanwhile() -> None:
    warming = Warming(lambda size, _: 0.1 * size, lambda buckets: buckets.retire(4))
    assert warming.learnt == pytest.approx((0.1, 0.4))
    assert warming.buckets.usable == (1,)


def test_at_the_end_memory_is_released() -> None:
    assert Warming(lambda size, _: 0.1 * size).backend.is_trimmed
