"""How long batches are said to have taken."""

from images.transform import Pixels
from serving.engine.batcher import Batch, Buckets
from serving.engine.latency import BatchLatency
from serving.engine.room import Limits, Room
from serving.engine.runner import Runner
from tests.serving.engine.jobs import Noted, new_job
from tests.support.bundles import LABELS, SIDE
from tests.support.fake_backend import FakeBackend
from tests.support.serving import VirtualClock


class Latency(BatchLatency):
    """Keeps what it is told."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.seen: list[float] = []

    def observe(self, bucket: int, seconds: float) -> None:
        self.seen.append(seconds)

    def seed(self, bucket: int, seconds: float) -> None:
        super().seed(bucket, seconds)
        self.seen.clear()


class Bench:
    """A runner whose batches take a second each, some of them in vain."""

    def __init__(self) -> None:
        self.clock, self.failures = VirtualClock(), 0
        self.latency = Latency(self.clock)
        self.seen: list[list[int]] = []
        backend = FakeBackend(len(LABELS), SIDE, self._pass)
        self.buckets = Buckets([1, 2, 4], self.latency)
        self.answers = Noted(self.clock)
        self.room = Room(Limits(4, 10**9, 10**9), SIDE, SIDE)
        self.runner = Runner(
            backend, self.buckets, self.latency, self.answers, self.room, self.clock
        )
        self.free_at: list[float] = []

    def run(self, images: int = 1, *, after_idling: bool) -> None:
        jobs = [new_job(self.clock.now + 100, self.clock.now) for _ in range(images)]
        for number, lease in enumerate(self.room.take([job.lease.size for job in jobs]) or []):
            jobs[number].lease = lease
            lease.slot[:] = number + 1
        self.runner.run(Batch(jobs, "device_free", after_idling))
        assert self.room.taken.images == 0

    def _pass(self, pixels: Pixels) -> None:
        self.seen.append(pixels[:, 0, 0, 0].tolist())
        self.free_at.append(self.runner.free_at - self.clock.now)
        self.clock.now += 1
        if self.failures:
            self.failures -= 1
            raise ValueError


def test_the_time_between_two_batches_of_a_busy_device_counts() -> None:
    bench = Bench()
    bench.run(after_idling=True)
    bench.clock.now += 0.25
    bench.run(after_idling=False)
    bench.clock.now += 60
    bench.run(after_idling=True)
    assert bench.latency.seen == [1.0, 1.25, 1.0]


def test_what_failed_counts_for_no_other_batch() -> None:
    bench = Bench()
    bench.run(after_idling=True)
    bench.failures = 1
    bench.run(images=2, after_idling=False)  # in vain, then its halves
    assert bench.latency.seen == [1.0, 1.0, 1.0]


def test_a_batch_of_a_size_that_another_device_retired_runs_in_parts() -> None:
    bench = Bench()
    bench.buckets.retire(2)
    bench.run(images=2, after_idling=True)
    assert bench.clock.now == 102.0


def test_slots_are_gathered_into_the_first_rows() -> None:
    bench = Bench()
    bench.run(images=3, after_idling=True)
    assert [rows[:3] for rows in bench.seen] == [[1, 2, 3]]


def test_halves_of_a_failing_batch_keep_their_images() -> None:
    bench = Bench()
    bench.failures = 1
    bench.run(images=4, after_idling=True)
    assert bench.seen == [[1, 2, 3, 4], [1, 2], [3, 4]]


def test_while_a_batch_runs_it_is_known_when_it_ends() -> None:
    bench = Bench()
    bench.latency.seed(2, 1.0)
    bench.run(images=2, after_idling=True)
    assert bench.free_at == [1.0]
    assert bench.runner.free_at == 0.0
