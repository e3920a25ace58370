"""Requests whose callers do not keep time themselves, on a virtual clock."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.engine.job import Waiter
from serving.errors import DeadlineExceededError
from tests.support.objects import alive
from tests.support.serving import Asking, Gate, Rig, VirtualClock, VirtualLoop, grey


class Untimed(Asking):
    """A caller that the engine must end."""

    keeps_time = False


class Bench:
    """A model none of whose threads runs, and its callers."""

    def __init__(self, path: Path) -> None:
        self.clock = VirtualClock()
        self.loop = VirtualLoop(self.clock)
        self.rig = Rig(path, clock=self.clock)
        self.loop.call_soon(self.rig.model.attach)
        self.loop.turn()

    def ask(self, seconds: float, *, keeps_time: bool = False) -> Asking:
        caller = (Asking if keeps_time else Untimed)(self.clock.now + seconds)
        self.rig.model.submit([grey(1)], caller)
        self.loop.turn()
        return caller

    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        self.loop.turn()


@pytest.fixture
def bench(tiny: Path) -> Iterator[Bench]:
    bench = Bench(tiny)
    yield bench
    bench.rig.model.close()
    bench.loop.close()


def ended(*callers: Asking) -> list[bool]:
    return [caller.answers is not None for caller in callers]


def test_they_end_at_their_deadlines_in_whatever_order_they_came(bench: Bench) -> None:
    late, early, middle = bench.ask(30), bench.ask(10), bench.ask(20)
    bench.wait(9.9)
    assert ended(late, early, middle) == [False, False, False]
    bench.wait(0.2)
    assert ended(late, early, middle) == [False, True, False]
    bench.wait(30)
    assert ended(late, early, middle) == [True, True, True]
    again = bench.ask(5)
    bench.wait(5)
    for caller in (late, early, middle, again):
        assert caller.answers
        assert isinstance(caller.answers[0], DeadlineExceededError)
    assert bench.rig.images("expired") == 4


def test_a_caller_that_keeps_time_is_left_alone(bench: Bench) -> None:
    caller = bench.ask(1, keeps_time=True)
    bench.wait(2)
    assert ended(caller) == [False]


def test_a_caller_that_left_is_not_answered(bench: Bench) -> None:
    gone, staying = bench.ask(2), bench.ask(2)
    gone.leave()
    bench.wait(3)
    assert ended(gone, staying) == [False, True]
    assert bench.rig.images("cancelled") == 1


def test_a_request_that_is_over_is_not_kept_alive_by_its_timer(bench: Bench) -> None:
    gc.collect()
    before = alive(Waiter)
    caller = bench.ask(30)
    reference = weakref.ref(caller)
    caller.leave()
    bench.clock.now += 1
    bench.rig.model.batcher.queue.clear()
    bench.rig.model.decoders.queue.clear()
    gc.disable()
    try:
        del caller
        assert reference() is None
        assert alive(Waiter) == before
    finally:
        gc.enable()


async def test_a_stream_that_is_answered_leaves_no_timers(tiny: Path) -> None:
    loop = asyncio.get_running_loop()
    async with Rig(tiny, gate=Gate(is_open=True)).running() as rig:
        for value in range(5):
            await rig.classify(value, timeout_s=3600)
    timers = [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
    assert timers == []
