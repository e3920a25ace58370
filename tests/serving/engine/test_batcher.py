import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest

from serving.engine.batcher import Batcher
from serving.engine.job import ImageJob
from tests.support.bundles import BUCKETS
from tests.support.serving import VirtualClock, grey


class Bench:
    """A batcher on a virtual clock, and those who left it without a batch."""

    def __init__(self, buckets: Sequence[int] = BUCKETS, devices: int = 1) -> None:
        self.clock = VirtualClock()
        self.dead: list[ImageJob] = []
        self.batcher = Batcher(
            buckets=buckets, devices=devices, clock=self.clock, on_dead=self.dead.extend
        )

    def put(self, deadline_in: float = 10.0) -> ImageJob:
        future = asyncio.get_running_loop().create_future()
        job = ImageJob(grey(1), 0, self.clock.now + deadline_in, future, self.clock.now)
        self.batcher.put(job)
        return job


async def test_takes_the_earliest_deadlines_first() -> None:
    bench = Bench(buckets=[1, 2])
    late, early, middle = bench.put(3), bench.put(1), bench.put(2)
    assert bench.batcher.poll() == [early, middle]
    assert bench.batcher.poll() == [late]
    assert bench.batcher.poll() == []


async def test_equal_deadlines_keep_the_order_of_arrival() -> None:
    bench = Bench()
    jobs = [bench.put() for _ in range(5)]
    assert bench.batcher.poll() == jobs


async def test_one_of_four_is_cancelled_and_three_run() -> None:
    bench = Bench()
    jobs = [bench.put() for _ in range(4)]
    jobs[1].future.cancel()
    assert bench.batcher.poll() == [jobs[0], jobs[2], jobs[3]]
    assert bench.dead == [jobs[1]]


async def test_expired_jobs_leave_when_a_device_asks() -> None:
    bench = Bench()
    expired, live = bench.put(1), bench.put(5)
    bench.clock.now += 1
    assert bench.batcher.poll() == [live]
    assert bench.dead == [expired]


async def test_the_dead_take_no_places_in_a_batch() -> None:
    bench = Bench(buckets=[1, 2])
    for _ in range(6):
        bench.put(1)
    live = [bench.put(5), bench.put(5), bench.put(5)]
    bench.clock.now += 2
    assert bench.batcher.poll() == live[:2]
    assert len(bench.dead) == 6


async def test_two_devices_share_a_burst() -> None:
    bench = Bench(devices=2)
    for _ in range(8):
        bench.put()
    assert [len(bench.batcher.poll()) for _ in range(5)] == [4, 2, 1, 1, 0]


async def test_a_share_is_filled_up_to_its_bucket_instead_of_padded() -> None:
    bench = Bench(devices=2)
    for _ in range(6):
        bench.put()
    assert [len(bench.batcher.poll()) for _ in range(4)] == [4, 1, 1, 0]


async def test_a_batch_is_never_larger_than_the_largest_bucket() -> None:
    bench = Bench(buckets=[1, 4])
    for _ in range(9):
        bench.put()
    assert [len(bench.batcher.poll()) for _ in range(4)] == [4, 4, 1, 0]


async def test_sweep_lets_the_dead_go_and_keeps_the_order() -> None:
    bench = Bench()
    late, cancelled, early, expired = bench.put(9), bench.put(3), bench.put(4), bench.put(1)
    cancelled.future.cancel()
    bench.clock.now += 1
    bench.batcher.sweep()
    assert set(bench.dead) == {cancelled, expired}
    assert bench.batcher.poll() == [early, late]


def taking(batcher: Batcher) -> tuple[threading.Thread, list[list[ImageJob]]]:
    taken: list[list[ImageJob]] = []
    thread = threading.Thread(target=lambda: taken.append(batcher.take()))
    thread.start()
    return thread, taken


async def test_a_waiting_device_gets_the_first_job_at_once() -> None:
    bench = Bench()
    thread, taken = taking(bench.batcher)
    job = bench.put()
    thread.join(10)
    assert taken == [[job]]


async def test_take_waits_on_when_only_dead_jobs_came() -> None:
    bench = Bench()
    bench.put(-1)
    thread, taken = taking(bench.batcher)
    job = bench.put()
    thread.join(10)
    assert taken == [[job]]


@pytest.mark.parametrize("closed", [Batcher.take, Batcher.poll])
async def test_closing_lets_all_go(closed: Callable[[Batcher], list[ImageJob]]) -> None:
    bench = Bench()
    waiting = bench.put()
    bench.batcher.close()
    too_late = bench.put()
    assert bench.dead == [waiting, too_late]
    assert closed(bench.batcher) == []
    assert len(bench.batcher) == 0


async def test_closing_wakes_waiting_devices() -> None:
    bench = Bench()
    threads = [taking(bench.batcher) for _ in range(3)]
    bench.batcher.close()
    for thread, taken in threads:
        thread.join(10)
        assert taken == [[]]
