"""A server in simulated time: front ends, their engine and its device, and callers."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.queueing import Clock, Cores, Device, Queue, Threads
from benchmarks.scaling_costs import Costs, DeviceCurve

# If nothing works for that share of its time, there are too few requests.
BUSY = 0.8
TOO_FEW = "callers"
WARM_UP_S = 0.05


@dataclass(frozen=True)
class Setup:
    """What is simulated.

    Attributes:
        cores: for all processes.
        frontends: 0: the engine process takes the calls itself.
        costs: CPU time of an image.
        device: what runs the network.
        in_flight: requests; each caller sends its next one when it has its answer.
        images: per request.
        caller_ms: CPU time that callers take per image, in one process on the same cores; None if
            they are elsewhere.
        spread: how much the times of images differ: standard deviation over mean.
        seconds: that count, after a warm-up.
        seed: of the times.
    """

    cores: int
    frontends: int
    costs: Costs
    device: DeviceCurve
    in_flight: int = 256
    images: int = 1
    caller_ms: float | None = None
    spread: float = 0.3
    seconds: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a server did.

    Attributes:
        images_per_second: answered.
        mean_s: from request to answer.
        shares: of its time that each part worked: front ends, engine, device, cores, callers.
    """

    images_per_second: float
    mean_s: float
    shares: Mapping[str, float]

    @property
    def bound(self) -> str:
        """What has no time left, and so bounds the whole."""
        part = max(self.shares, key=lambda name: self.shares[name])
        return part if self.shares[part] >= BUSY else TOO_FEW


class FrontEnd:
    """A process that takes calls: what holds its Python's lock, and threads that decode.

    Args:
        cores: of all.
        decode_threads: how many.
        python: the lock, if that is another's, too.
    """

    def __init__(self, cores: Cores, decode_threads: int, python: Threads | None = None) -> None:
        self.python = python or Threads(cores)
        self.decoders = Threads(cores, decode_threads)


class Simulation:
    """Requests on their way: caller, front end, engine, front end, engine, device, and back."""

    def __init__(self, setup: Setup) -> None:
        self._setup, costs = setup, setup.costs
        self._random = random.Random(setup.seed)  # noqa: S311 - no secret
        self._clock = Clock()
        self._cores = Cores(self._clock, setup.cores)
        self._engine = Threads(self._cores)
        self._callers = Threads(self._cores)
        self._device = Device(self._clock, setup.device.batch, setup.device.batch_s)
        processes = max(1, setup.frontends)
        threads = -(-setup.cores // processes)  # as `serving` shares them out
        shared = None if setup.frontends else self._engine
        self._frontends = [FrontEnd(self._cores, threads, shared) for _ in range(processes)]
        self._engine_ms = costs.engine.ms if setup.frontends else 0.0
        self._frontend_ms = costs.frontend.ms if setup.frontends else costs.alone.ms
        self._answered, self._waited_s = 0, 0.0

    def run(self) -> Outcome:
        """Let callers call, and return what came of the time that counts."""
        setup, clock = self._setup, self._clock
        for number in range(setup.in_flight):
            self._send(self._frontends[number % len(self._frontends)])
        # All began at once; by then they have drifted apart.
        while self._answered < 2 * setup.in_flight:
            clock.run(clock.now + WARM_UP_S)
        busy = self._busy_s()
        self._answered, self._waited_s = 0, 0.0
        clock.run(clock.now + setup.seconds)
        shares = {name: now - busy[name] for name, now in self._busy_s().items()}
        return Outcome(
            images_per_second=self._answered * setup.images / setup.seconds,
            mean_s=self._waited_s / max(1, self._answered),
            shares={name: worked_s / setup.seconds for name, worked_s in shares.items()},
        )

    def _send(self, frontend: FrontEnd) -> None:
        """Follow one request from its caller and back, and then the next one."""
        began, way = self._clock.now, self._way(frontend)

        def go_on() -> None:
            for place, ms in way:
                if isinstance(place, Device):
                    place.put(self._setup.images, go_on)
                    return
                if ms > 0:
                    place.put(self._time_s(ms), go_on)
                    return
            self._answered += 1
            self._waited_s += self._clock.now - began
            self._send(frontend)

        go_on()

    def _way(self, frontend: FrontEnd) -> Iterator[tuple[Threads | Device, float]]:
        """Yield where a request goes, and the CPU time per image there, in milliseconds."""
        costs, caller_ms = self._setup.costs, self._setup.caller_ms or 0.0
        yield self._callers, caller_ms / 2
        yield frontend.python, self._frontend_ms / 2  # read it
        yield self._engine, self._engine_ms / 3  # admit it
        # The lock and the rest are two pieces: no thread keeps the lock while it decodes.
        yield frontend.python, costs.locked.ms
        yield frontend.decoders, costs.decode.ms - costs.locked.ms
        yield self._engine, self._engine_ms / 3  # put it into a batch
        yield self._device, 0.0
        yield self._engine, self._engine_ms / 3  # say what came out
        yield frontend.python, self._frontend_ms / 2  # answer
        yield self._callers, caller_ms / 2

    def _time_s(self, ms: float) -> float:
        """Return how long a request's images take where one takes `ms` on average."""
        mean_s, spread = ms * self._setup.images / 1e3, self._setup.spread
        if not spread:
            return mean_s
        shape = 1 / spread**2
        return self._random.gammavariate(shape, mean_s / shape)

    def _busy_s(self) -> dict[str, float]:
        """Return how long each part has worked; of several alike, the mean."""
        parts: dict[str, Sequence[Queue | Device]] = {
            "device": [self._device],
            "engine": [self._engine],
            "cores": [self._cores],
            "callers": [self._callers],
        }
        if self._setup.frontends:
            parts["front ends"] = [frontend.python for frontend in self._frontends]
        return {
            name: sum(part.busy_s for part in each) / sum(part.count for part in each)
            for name, each in parts.items()
        }
