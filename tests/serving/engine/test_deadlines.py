"""Who ends calls that nobody else ends, on a virtual clock."""

import gc
from collections.abc import Iterator

import pytest

from serving.engine.deadlines import Deadlines
from serving.engine.job import Call
from tests.support.serving import VirtualClock, VirtualLoop


class Bench:
    """Calls, and which of them were ended when."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.loop = VirtualLoop(self.clock)
        self.ended: list[Call] = []
        self.deadlines = Deadlines(self._expire, self.clock)
        self.deadlines.attach(self.loop)

    def add(self, seconds: float) -> Call:
        call = Call(1, self.clock.now, self.clock.now + seconds, lambda _: None, lambda _: False)
        self.deadlines.add(call)
        self.loop.turn()
        return call

    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        self.loop.turn()

    def _expire(self, call: Call) -> None:
        self.ended.append(call)
        call.leave()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.loop.close()


def test_calls_end_at_their_deadlines_in_whatever_order_they_came(bench: Bench) -> None:
    late, early, middle = bench.add(30), bench.add(10), bench.add(20)
    bench.wait(9.9)
    assert bench.ended == []
    bench.wait(0.2)
    assert bench.ended == [early]
    bench.wait(30)
    assert bench.ended == [early, middle, late]
    again = bench.add(5)
    bench.wait(5)
    assert bench.ended[3:] == [again]


def test_calls_that_are_over_are_left_out(bench: Bench) -> None:
    first, second, third = (bench.add(seconds) for seconds in (1, 2, 3))
    first.leave()
    third.leave()
    bench.wait(4)
    assert bench.ended == [second]


def test_a_call_that_is_over_is_not_kept_alive(bench: Bench) -> None:
    call = bench.add(1)
    kept = [bench.add(2)]
    gc.disable()
    try:
        del call
        bench.wait(3)
    finally:
        gc.enable()
    assert bench.ended == kept


def test_a_later_deadline_wakes_nobody(bench: Bench) -> None:
    calls = [bench.add(seconds) for seconds in (10, 20, 30)]
    timer = bench.deadlines._timer
    calls.append(bench.add(40))
    assert bench.deadlines._timer is timer
    bench.wait(100)
    assert bench.ended == calls


def test_one_turn_takes_out_all_that_are_over_before_the_next(bench: Bench) -> None:
    calls = [bench.add(10 + seconds) for seconds in range(100)]
    for call in calls[:-1]:
        call.leave()
    bench.wait(10)
    assert len(bench.deadlines._calls) == 1
