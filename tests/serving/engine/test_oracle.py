"""Admission on a virtual clock against an oracle that knows all service times."""

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from functools import partial
from statistics import mean
from typing import NamedTuple, cast

import pytest

from serving.engine.batcher import Batch, Batcher
from serving.engine.buckets import Buckets, fit
from serving.engine.decode import DecodePool, Decoder, Decoding
from serving.engine.decode_latency import DecodeLatency, DecodeTime
from serving.engine.forecast import Forecast
from serving.engine.job import ImageJob
from serving.engine.latency import BatchLatency, WaitCorrection
from serving.engine.sources import Size
from serving.engine.watch import Worker
from tests.serving.engine.jobs import Noted, new_job
from tests.serving.engine.oracle import Image, World
from tests.support.serving import VirtualClock

TIMES = {1: 0.010, 2: 0.017, 4: 0.030, 8: 0.055}
ASK_EVERY = 3
DECODE_S_PER_MEGAPIXEL = 0.005
PIXELS = (100_000, 500_000, 2_000_000)


class SimulatedDevice:
    """A device that needs the stated time for a batch."""

    def __init__(self) -> None:
        self.free_at = self.truly_free_at = 0.0


class KnownDecodeLatency(DecodeLatency):
    """Decoding takes as long as the world lets it take."""

    def estimate(self, size: Size, now: float) -> DecodeTime:
        seconds = DECODE_S_PER_MEGAPIXEL * size.pixels / 1e6
        return DecodeTime(seconds, seconds, is_known=True)


class SimulatedDecoders(DecodePool):
    """Decoders whose work takes virtual time."""

    def __init__(self, threads: int, simulation: "Simulation") -> None:
        decode, shared = cast("Decoder", None), (simulation.batcher, simulation.answers)
        super().__init__(threads, decode, *shared, simulation.clock)
        self._simulation = simulation

    def step(self, worker: Worker | None = None) -> bool:
        with self.queue.lock:
            job = self.queue.pop()
        self._simulation.decode(job)
        return True


class Simulation:
    """The engine's queues and forecast, the real ones, between simulated decoders and devices."""

    def __init__(self, devices: int, threads: int = 2, slo_s: float | None = None) -> None:
        self.clock, self.slowness, self.batches = VirtualClock(), 1.0, 0
        self.latency = BatchLatency(self.clock)
        for bucket, seconds in TIMES.items():
            self.latency.seed(bucket, seconds)
        buckets = Buckets(list(TIMES), self.latency, slo_s)
        self.devices = [SimulatedDevice() for _ in range(devices)]
        self.answers = Noted(self.clock)
        self.batcher = Batcher(
            buckets=buckets, latency=self.latency, answers=self.answers, clock=self.clock
        )
        for device in self.devices:
            self.batcher.enter(device)
        self.decoders = SimulatedDecoders(threads, self)
        self.decoding_of_all = Decoding(self.decoders, SimulatedDecoders(1, self))
        self.forecast = Forecast(
            self.batcher,
            buckets,
            self.latency,
            KnownDecodeLatency(),
            WaitCorrection(self.clock),
        )
        self.waiting: dict[ImageJob, Image] = {}
        self.decoding: list[tuple[float, Image]] = []
        self.answered: list[tuple[ImageJob, float]] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    @property
    def batch_s(self) -> float:
        """What a full batch takes, on average.

        Where the oracle sees an image end less than that from its deadline, either decision is
        right.
        """
        decode_s = 0.0 if self.decoders.threads else DECODE_S_PER_MEGAPIXEL * mean(PIXELS) / 1e6
        return TIMES[8] + 8 * decode_s

    @property
    def capacity(self) -> float:
        """Images per second of all devices."""
        return len(self.devices) * 8 / self.batch_s

    def at(self, when: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def run(self) -> None:
        """Let everything happen, in its order."""
        while self._events:
            self.clock.now, _, event = heapq.heappop(self._events)
            event()
            while len(self.decoders.queue) and len(self.decoding) < self.decoders.threads:
                self.decoders.step()
            for device in self.devices:
                if device.truly_free_at <= self.clock.now and (batch := self.batcher.poll()):
                    self._run(device, batch)

    def accepts(self, image: Image, size: Size) -> bool:
        now = self.clock.now
        backlog = self.forecast.backlog(now, image.deadline, self.decoding_of_all)
        decode_s = self.forecast.decode_time(now, size).usual_s
        return not backlog or backlog.estimate(decode_s=decode_s).finish <= image.deadline

    def admit(self, image: Image, size: Size) -> None:
        job = new_job(image.deadline, self.clock.now, size.pixels)
        job.decode_s = image.decode_s
        self.waiting[job] = image
        if self.decoders.threads:
            assert self.decoders.queue.put([job])
        else:
            self.batcher.put([job])

    def world(self) -> World:
        decoding = {image for _, image in self.decoding}
        ready = [self.waiting[job] for job in self.batcher.queue]
        undecoded = set(self.waiting.values()) - decoding - set(ready)
        times = {bucket: self.slowness * seconds for bucket, seconds in TIMES.items()}
        free = [device.truly_free_at for device in self.devices]
        return World(
            self.clock.now,
            self.decoders.threads,
            times,
            free,
            list(undecoded),
            list(self.decoding),
            ready,
        )

    def decode(self, job: ImageJob) -> None:
        entry = (self.clock.now + self.waiting[job].decode_s, self.waiting[job])
        self.decoding.append(entry)

        def decoded() -> None:
            self.decoding.remove(entry)
            job.decode_s = 0.0
            self.batcher.put([job])

        self.at(entry[0], decoded)

    def _run(self, device: SimulatedDevice, batch: Batch) -> None:
        bucket = fit(list(TIMES), len(batch.jobs))
        seconds = TIMES[bucket] * self.slowness
        decoded = self.clock.now + sum(job.decode_s for job in batch.jobs)
        device.free_at = decoded + self.latency.bound(bucket)
        device.truly_free_at = decoded + seconds
        for job in (*batch.jobs, *self.answers.failed):
            del self.waiting[job]
        self.answers.failed.clear()

        def done() -> None:
            self.batches += 1
            device.free_at = 0.0
            self.latency.observe(bucket, seconds)
            self.answered += [(job, self.clock.now) for job in batch.jobs]

        self.at(device.truly_free_at, done)


class Decision(NamedTuple):
    """What was decided, and how long before its deadline the oracle sees the image end."""

    accepted: bool
    spare_s: float
    batches: int

    @property
    def is_wrong(self) -> bool:
        return self.accepted != (self.spare_s >= 0)


def simulate(
    simulation: Simulation,
    load: float,
    seconds: float,
    timeouts_s: Sequence[float] = (0.02, 0.1, 0.3, 1.0),
) -> list[Decision]:
    """Let images arrive at `load` times the capacity; return what was decided."""
    chance, decisions = random.Random(1), []

    def arrive(order: int) -> None:
        pixels = chance.choice(PIXELS)
        image = Image(
            simulation.clock.now + chance.choice(timeouts_s),
            order,
            DECODE_S_PER_MEGAPIXEL * pixels / 1e6,
        )
        size = Size("raw", pixels, 0)
        accepted = simulation.accepts(image, size)
        if order % ASK_EVERY == 0:  # the oracle takes its time
            spare_s = image.deadline - simulation.world().finish(image)
            decisions.append(Decision(accepted, spare_s, simulation.batches))
        if accepted:
            simulation.admit(image, size)

    when, rate = simulation.clock.now, load * simulation.capacity
    for order in range(int(seconds * rate)):
        when += chance.expovariate(rate)
        simulation.at(when, partial(arrive, order))
    simulation.run()
    return decisions


@pytest.mark.parametrize("threads", [2, 0])
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("load", [0.3, 1.0, 3.0])
async def test_decides_as_the_oracle_does(threads: int, devices: int, load: float) -> None:
    simulation = Simulation(devices, threads)
    decisions = simulate(simulation, load, seconds=2)
    clear = [decision for decision in decisions if abs(decision.spare_s) > simulation.batch_s]
    assert len(clear) > len(decisions) / 4
    assert [decision for decision in clear if decision.is_wrong] == []


@pytest.mark.parametrize("threads", [2, 0])
async def test_three_times_the_capacity_leaves_the_devices_busy_and_nobody_late(
    threads: int,
) -> None:
    simulation = Simulation(1, threads)
    simulate(simulation, load=3.0, seconds=5, timeouts_s=[1.0])
    in_time = [job for job, end in simulation.answered if end <= job.due]
    assert len(in_time) >= 0.9 * 5 * simulation.capacity
    assert len(in_time) >= 0.99 * len(simulation.answered)


async def test_twenty_batches_after_a_slowdown_it_decides_right_again() -> None:
    simulation = Simulation(devices=1)
    seen: list[int] = []

    def slow_down() -> None:
        simulation.slowness = 3.0
        seen.append(simulation.batches)

    simulation.at(simulation.clock.now + 2, slow_down)
    decisions = simulate(simulation, load=1.0, seconds=5)
    after = [decision for decision in decisions if decision.batches >= seen[0] + 20]
    clear = [decision for decision in after if abs(decision.spare_s) > 3 * simulation.batch_s]
    assert len(clear) > len(after) / 8
    assert [decision for decision in clear if decision.is_wrong] == []


def p99_s(threads: int, load: float, slo_s: float | None) -> float:
    simulation = Simulation(threads=threads, devices=1, slo_s=slo_s)
    simulate(simulation, load, seconds=60, timeouts_s=[10.0])
    latencies = sorted(end - job.arrived for job, end in simulation.answered)
    return latencies[int(0.99 * len(latencies))]


# A device that decodes has more to do for each image.
@pytest.mark.parametrize(("threads", "load"), [(2, 0.6), (0, 0.5)])
async def test_an_objective_bounds_batches_so_that_p99_keeps_it(threads: int, load: float) -> None:
    assert p99_s(threads, load, slo_s=None) > 0.1
    assert p99_s(threads, load, slo_s=0.1) < 0.1
