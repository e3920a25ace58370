import threading
from collections.abc import Callable, Sequence

import pytest

from serving.engine.batcher import Batch, Batcher
from serving.engine.buckets import Buckets, fit
from serving.engine.job import ImageJob
from serving.engine.latency import BatchLatency
from tests.serving.engine.jobs import Noted, new_job
from tests.support.bundles import BUCKETS
from tests.support.serving import VirtualClock, until


class Free:
    """A device that takes batches."""

    free_at = 0.0


class Bench:
    """A batcher on a virtual clock, and those who left it without a batch."""

    def __init__(
        self, buckets: Sequence[int] = BUCKETS, devices: int = 1, slo_s: float | None = None
    ) -> None:
        self.clock = VirtualClock()
        self.answers = Noted(self.clock)
        self.latency = BatchLatency(self.clock)
        self.batcher = Batcher(
            buckets=Buckets(buckets, self.latency, slo_s),
            latency=self.latency,
            answers=self.answers,
            clock=self.clock,
        )
        for _ in range(devices):
            self.batcher.enter(Free())

    def put(self, deadline_in: float = 10.0, decode_s: float = 0.0) -> ImageJob:
        job = new_job(self.clock.now + deadline_in, self.clock.now)
        job.decode_s = decode_s
        self.batcher.put([job])
        return job

    @property
    def dead(self) -> list[ImageJob]:
        return self.answers.failed

    def poll(self) -> list[ImageJob]:
        batch = self.batcher.poll()
        return batch.jobs if batch else []


async def test_takes_the_earliest_deadlines_first() -> None:
    bench = Bench(buckets=[1, 2])
    late, early, middle = bench.put(3), bench.put(1), bench.put(2)
    assert bench.poll() == [early, middle]
    assert bench.poll() == [late]
    assert bench.poll() == []


async def test_equal_deadlines_keep_the_order_of_arrival() -> None:
    bench = Bench()
    jobs = [bench.put() for _ in range(5)]
    assert bench.poll() == jobs


async def test_one_of_four_is_cancelled_and_three_run() -> None:
    bench = Bench()
    jobs = [bench.put() for _ in range(4)]
    jobs[1].waiter.leave()
    assert bench.poll() == [jobs[0], jobs[2], jobs[3]]
    assert bench.dead == [jobs[1]]


async def test_expired_jobs_leave_when_a_device_asks() -> None:
    bench = Bench()
    expired, live = bench.put(1), bench.put(5)
    bench.clock.now += 1
    assert bench.poll() == [live]
    assert bench.dead == [expired]


async def test_the_dead_take_no_places_in_a_batch() -> None:
    bench = Bench(buckets=[1, 2])
    for _ in range(6):
        bench.put(1)
    live = [bench.put(5), bench.put(5), bench.put(5)]
    bench.clock.now += 2
    assert bench.poll() == live[:2]
    assert len(bench.dead) == 6


async def test_two_devices_share_a_burst() -> None:
    bench = Bench(devices=2)
    for _ in range(8):
        bench.put()
    assert [len(bench.poll()) for _ in range(5)] == [4, 2, 1, 1, 0]


async def test_a_share_is_filled_up_to_its_bucket_instead_of_padded() -> None:
    bench = Bench(devices=2)
    for _ in range(6):
        bench.put()
    assert [len(bench.poll()) for _ in range(4)] == [4, 1, 1, 0]


async def test_a_batch_is_never_larger_than_the_largest_bucket() -> None:
    bench = Bench(buckets=[1, 4])
    for _ in range(9):
        bench.put()
    assert [len(bench.poll()) for _ in range(4)] == [4, 4, 1, 0]


async def test_sweep_lets_the_dead_go_and_keeps_the_order() -> None:
    bench = Bench()
    late, cancelled, early, expired = bench.put(9), bench.put(3), bench.put(4), bench.put(1)
    cancelled.waiter.leave()
    bench.clock.now += 1
    assert set(bench.batcher.queue.sweep(bench.clock.now)) == {cancelled, expired}
    assert bench.poll() == [early, late]


def taking(batcher: Batcher) -> tuple[threading.Thread, list[Batch | None]]:
    taken: list[Batch | None] = []
    thread = threading.Thread(target=lambda: taken.append(batcher.take()))
    thread.start()
    return thread, taken


async def test_a_waiting_device_gets_the_first_job_at_once() -> None:
    bench = Bench()
    thread, taken = taking(bench.batcher)
    job = bench.put()
    thread.join(10)
    assert [batch.jobs for batch in taken if batch] == [[job]]


async def test_take_waits_on_when_only_dead_jobs_came() -> None:
    bench = Bench()
    bench.put(-1)
    thread, taken = taking(bench.batcher)
    job = bench.put()
    thread.join(10)
    assert [batch.jobs for batch in taken if batch] == [[job]]


@pytest.mark.parametrize("closed", [Batcher.take, Batcher.poll])
async def test_closing_returns_all_and_takes_no_more(
    closed: Callable[[Batcher], Batch | None],
) -> None:
    bench = Bench()
    waiting = bench.put()
    assert bench.batcher.queue.close() == [waiting]
    late = bench.put()
    assert bench.dead == [late]
    assert closed(bench.batcher) is None
    assert len(bench.batcher.queue) == 0


async def test_closing_wakes_waiting_devices() -> None:
    bench = Bench()
    threads = [taking(bench.batcher) for _ in range(3)]
    bench.batcher.queue.close()
    for thread, taken in threads:
        thread.join(10)
        assert taken == [None]


def seeded(bench: Bench, seconds_per_image: float = 0.1) -> Bench:
    for bucket in BUCKETS:
        bench.latency.seed(bucket, seconds_per_image * bucket**0.9)
    return bench


async def test_a_tight_deadline_makes_the_batch_smaller() -> None:
    bench = seeded(Bench())
    jobs = [bench.put(0.5), *(bench.put() for _ in range(7))]
    assert bench.batcher.poll() == Batch(jobs[:4], "deadline")
    assert bench.batcher.poll() == Batch(jobs[4:], "device_free")


async def test_a_full_bucket_is_the_reason_where_more_wait() -> None:
    bench = seeded(Bench())
    jobs = [bench.put() for _ in range(9)]
    assert bench.batcher.poll() == Batch(jobs[:8], "full")


async def test_what_the_device_decodes_makes_the_batch_smaller_too() -> None:
    bench = seeded(Bench())
    jobs = [bench.put(0.5, decode_s=0.06), *(bench.put(decode_s=0.01) for _ in range(7))]
    assert bench.batcher.poll() == Batch(jobs[:2], "deadline")  # 4 would take 0.35 s and decoding


async def test_a_large_image_makes_no_earlier_one_late() -> None:
    bench = seeded(Bench())
    small, large, other = bench.put(0.5, 0.01), bench.put(decode_s=2.0), bench.put(decode_s=0.01)
    assert bench.batcher.poll() == Batch([small], "deadline")
    assert bench.poll() == [large]
    assert bench.poll() == [other]


async def test_a_batch_decodes_no_longer_than_it_runs() -> None:
    bench = seeded(Bench())  # 0.65 s for the largest batch
    jobs = [bench.put(100.0, decode_s=0.3) for _ in range(5)]
    assert bench.batcher.poll() == Batch(jobs[:2], "decoding")
    urgent = bench.put(10.0)
    assert bench.poll() == [urgent, *jobs[2:4]]


async def test_what_is_only_guessed_turns_nobody_away() -> None:
    bench = seeded(Bench())
    job = bench.put(0.3, decode_s=0.25)
    bench.batcher.queue.clear()
    job.is_guess = True
    bench.batcher.put([job])
    assert bench.batcher.queue.ahead(bench.clock.now + 1) == (1, 0.0, 1)
    assert bench.poll() == [job]
    assert bench.dead == []


async def test_who_cannot_be_decoded_and_answered_in_time_leaves() -> None:
    bench = seeded(Bench())
    late, live = bench.put(0.3, decode_s=0.25), bench.put()
    assert bench.poll() == [live]
    assert bench.dead == [late]


async def test_the_objective_counts_what_the_device_decodes() -> None:
    bench = seeded(Bench(slo_s=0.5))
    for _ in range(8):
        bench.put(decode_s=0.1)
    assert len(bench.poll()) == 1


async def test_it_knows_how_much_is_ahead() -> None:
    bench = Bench()
    for deadline in (1, 2, 3, 4):
        bench.put(deadline, decode_s=0.01)
    assert bench.batcher.queue.ahead(bench.clock.now + 2.5) == (2, pytest.approx(0.02), 0)
    bench.poll()
    assert bench.batcher.queue.ahead(bench.clock.now + 2.5) == (0, 0.0, 0)


async def test_who_cannot_be_answered_in_time_leaves_before_the_device() -> None:
    bench = seeded(Bench())
    late, live = bench.put(0.05), bench.put()
    assert bench.poll() == [live]
    assert bench.dead == [late]


async def test_old_knowledge_turns_nobody_away() -> None:
    bench = seeded(Bench())
    bench.clock.now += 60
    late = bench.put(0.05)
    assert bench.poll() == [late]


async def test_the_objective_bounds_the_batch() -> None:
    bench = seeded(Bench(slo_s=0.5))
    for _ in range(8):
        bench.put()
    batch = bench.batcher.poll()
    assert batch
    assert (len(batch.jobs), batch.reason) == (2, "deadline")


@pytest.mark.parametrize(
    ("seconds", "images"),
    [
        ([1.0, 1.1, 1.3, 1.7], 8),  # a GPU: the larger, the faster
        ([1.0, 1.9, 3.6, 6.8], 8),
        ([1.0, 1.9, 3.6, 7.0], 4),  # 8 are hardly faster than 4
        ([1.0, 2.3, 4.6, 9.2], 1),
        ([0.001, 0.002, 0.004, 0.008], 8),  # the hand-overs between batches count
    ],
)
async def test_a_batch_grows_only_while_the_device_becomes_faster(
    seconds: list[float], images: int
) -> None:
    bench = Bench(buckets=[1, 2, 4, 8])
    for bucket, time in zip([1, 2, 4, 8], seconds, strict=True):
        bench.latency.seed(bucket, time)
    jobs = [bench.put(100.0) for _ in range(9)]
    assert bench.batcher.poll() == Batch(jobs[:images], "full")


async def test_a_device_that_comes_back_in_a_slow_hour_changes_no_batch_size() -> None:
    latency = Bench().latency
    buckets = Buckets([4, 8], latency)
    for _ in range(2):
        latency.seed(4, 0.016)
        latency.seed(8, 0.031)
        assert buckets.efficient() == (4, 8)
        for _ in range(20):
            latency.observe(4, 10.0)


async def test_a_batch_says_whether_its_device_waited_for_it() -> None:
    bench = Bench(buckets=[1])
    bench.put()
    bench.put()
    batches = [bench.batcher.take() for _ in range(2)]
    assert [batch.after_idling for batch in batches if batch] == [False, False]
    thread, taken = taking(bench.batcher)
    await until(lambda: bool(bench.batcher.queue.lock._waiters))
    bench.put()
    thread.join(10)
    assert [batch.after_idling for batch in taken if batch] == [True]


def test_fit_is_the_smallest_bucket_that_holds_the_images() -> None:
    assert [fit([1, 4, 8], images) for images in (1, 2, 4, 5, 8)] == [1, 4, 4, 8, 8]


async def test_a_job_that_comes_after_the_last_device_has_left_fails() -> None:
    bench = Bench(devices=0)
    bench.batcher.enter(device := Free())
    bench.batcher.pause(device)
    waiting = bench.put()  # the device may come back soon
    assert bench.dead == []
    bench.batcher.leave(device)
    late = bench.put()
    assert bench.dead == [waiting, late]
    bench.batcher.enter(device)
    assert bench.poll() == []
    welcome = bench.put()
    assert bench.poll() == [welcome]
