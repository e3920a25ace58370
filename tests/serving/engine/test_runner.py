"""How long batches are said to have taken."""

from typing import cast

import pytest

from images.transform import Pixels
from serving.engine.batcher import Batch
from serving.engine.buckets import Buckets
from serving.engine.decode import Decoder
from serving.engine.job import ImageJob
from serving.engine.latency import BatchLatency
from serving.engine.runner import Runner
from serving.engine.watch import Worker
from serving.errors import OutOfDeviceMemoryError
from tests.serving.engine.jobs import Noted, new_job
from tests.support.bundles import LABELS, SIDE
from tests.support.fake_backend import FakeBackend
from tests.support.serving import VirtualClock


class Latency(BatchLatency):
    """Keeps what it is told."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.seen: list[float] = []

    def observe(self, bucket: int, seconds: float, *, wide: bool = False) -> None:
        self.seen.append(seconds)

    def seed(
        self, bucket: int, least_s: float, usual_s: float | None = None, *, wide: bool = False
    ) -> None:
        super().seed(bucket, least_s, usual_s, wide=wide)
        self.seen.clear()


class Bench:
    """A runner whose batches take a second each, some of them in vain."""

    def __init__(self) -> None:
        self.clock, self.failures, self.fits = VirtualClock(), 0, 100
        self.latency = Latency(self.clock)
        self.seen: list[list[int]] = []
        backend = FakeBackend(len(LABELS), SIDE, self._pass)
        self.buckets = Buckets([1, 2, 4], self.latency)
        self.answers = Noted(self.clock)
        decode = cast("Decoder", self._decode)
        self.runner = Runner(backend, self.buckets, self.latency, self.answers, decode, self.clock)
        self.decode_s, self.decoded = 0.5, 0
        self.free_at: list[float] = []

    def run(self, images: int = 1, *, after_idling: bool, undecoded: int = 0) -> list[ImageJob]:
        jobs = [new_job(self.clock.now + 100, self.clock.now) for _ in range(images)]
        for number, job in enumerate(jobs):
            job.lease.slot[:] = number + 1
            job.pixels = job.lease.slot
        for job in jobs[:undecoded]:
            job.pixels, job.decode_s = None, 0.4
        self.runner.run(Batch(jobs, "device_free", after_idling))
        return jobs

    def _decode(self, job: ImageJob, out: Pixels, worker: Worker) -> bool:
        assert worker is self.runner.worker
        self.free_at.append(self.runner.free_at - self.clock.now)
        self.clock.now += self.decode_s
        out[:], job.pixels = 100 + self.decoded, out
        self.decoded += 1
        return self.decode_s > 0

    def _pass(self, pixels: Pixels) -> None:
        self.seen.append(pixels[:, 0, 0, 0].tolist())
        self.free_at.append(self.runner.free_at - self.clock.now)
        self.clock.now += 1
        if len(pixels) > self.fits:
            raise OutOfDeviceMemoryError("too large")
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


def test_decoding_is_part_of_neither_a_hand_over_nor_a_batch() -> None:
    bench = Bench()
    bench.run(after_idling=True, undecoded=1)
    bench.clock.now += 0.25
    bench.run(images=2, after_idling=False, undecoded=2)
    assert bench.latency.seen == [1.0, 1.25]


def test_while_it_decodes_it_is_known_when_it_will_be_free() -> None:
    bench = Bench()
    bench.latency.seed(2, 1.0)
    bench.run(images=2, after_idling=True, undecoded=2)
    assert bench.free_at == pytest.approx([1.8, 1.3, 1.0])
    assert bench.runner.free_at == 0.0


def test_what_cannot_be_decoded_does_not_run() -> None:
    bench = Bench()
    bench.decode_s = 0.0
    bench.run(images=2, after_idling=True, undecoded=1)
    bench.run(images=1, after_idling=True, undecoded=1)
    assert bench.runner.free_at == 0.0
    assert bench.latency.seen == [1.0]


def test_a_batch_of_a_size_that_another_device_retired_runs_in_parts() -> None:
    bench = Bench()
    bench.buckets.retire(2)
    bench.run(images=2, after_idling=True)
    assert bench.clock.now == 102.0


def test_slots_are_gathered_into_the_first_rows() -> None:
    bench = Bench()
    bench.run(images=3, after_idling=True)
    assert [rows[:3] for rows in bench.seen] == [[1, 2, 3]]


def test_what_the_device_decodes_goes_straight_into_the_batch() -> None:
    bench = Bench()
    jobs = bench.run(images=2, after_idling=True, undecoded=2)
    assert bench.seen == [[100, 101]]
    assert all(job.lease.slot.max() < 100 for job in jobs)


def test_halves_of_a_batch_that_was_decoded_in_place_keep_their_images() -> None:
    bench = Bench()
    bench.failures = 1
    bench.run(images=4, after_idling=True, undecoded=4)
    assert bench.seen == [[100, 101, 102, 103], [100, 101], [102, 103]]


def test_what_outgrows_a_batch_that_had_to_shrink_is_decoded_too() -> None:
    bench = Bench()
    bench.buckets.retire(4)
    bench.run(images=4, after_idling=True, undecoded=4)
    assert bench.seen == [[100, 101], [102, 103]]


@pytest.mark.parametrize("failures", [0, 1])
def test_a_part_is_as_large_as_what_still_fits_when_its_turn_comes(failures: int) -> None:
    bench = Bench()
    bench.fits, bench.failures = 2, failures
    bench.run(images=4, after_idling=True)  # 4 do not fit: two parts of 2
    bench.fits = 1
    bench.seen.clear()
    bench.run(images=4, after_idling=True)  # the first part retires 2 for the second, too
    assert [len(rows) for rows in bench.seen] == [2, 1, 1, 1, 1]
    assert bench.answers.failed == []
