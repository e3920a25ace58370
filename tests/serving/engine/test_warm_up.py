"""What a device learns before it serves, on a virtual clock."""

from collections.abc import Callable
from typing import cast

import pytest

from images.transform import Pixels
from serving.engine.batcher import Batcher
from serving.engine.buckets import Buckets
from serving.engine.decode import Decoder
from serving.engine.device import MOST_ROUNDS, Device
from serving.engine.latency import BatchLatency
from serving.engine.runner import Runner
from tests.serving.engine.jobs import Noted, new_metrics
from tests.support.bundles import LABELS, SIDE
from tests.support.fake_backend import FakeBackend
from tests.support.serving import VirtualClock

Times = Callable[[int, int], float]


class Warming:
    """Warms a device whose run of a batch size takes `times(size, round)` seconds."""

    def __init__(self, times: Times, on_run: Callable[[Buckets], object] = lambda _: None) -> None:
        self.clock, self._times, self._on_run = VirtualClock(), times, on_run
        self.latency = BatchLatency(self.clock)
        self.buckets = Buckets([1, 4], self.latency)
        self.backend = FakeBackend(len(LABELS), SIDE, self._pass)
        answers = Noted(self.clock)
        Device(
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
        self.clock.now += self._times(len(images), (len(self.backend.batches) - 1) // 2)
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


def test_a_fast_device_is_not_asked_for_ever() -> None:
    assert len(Warming(lambda *_: 1e-6).backend.batches) == 2 * MOST_ROUNDS


def test_another_device_may_retire_a_size_meanwhile() -> None:
    warming = Warming(lambda size, _: 0.1 * size, lambda buckets: buckets.retire(4))
    assert warming.learnt == pytest.approx((0.1, 0.4))
    assert warming.buckets.usable == (1,)


def test_at_the_end_memory_is_released() -> None:
    assert Warming(lambda size, _: 0.1 * size).backend.is_trimmed
