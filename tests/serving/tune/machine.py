"""A machine that only exists in a test: candidates with given speeds, on a virtual clock."""

from collections.abc import Callable
from dataclasses import dataclass, field

from serving.tune.candidate import Candidate, Kind
from serving.tune.process import Result, TooSlowError, WorkerError
from serving.tune.race import Budget, Race
from tests.support.serving import VirtualClock

BUCKETS = (1, 2, 4, 8, 16, 32)
KINDS = [Kind("onnxruntime", "fp32", BUCKETS), Kind("onnxruntime", "int8", BUCKETS)]
START = Candidate("onnxruntime", "fp32", 4, 1, BUCKETS)


@dataclass
class Machine:
    """What a candidate reaches, in images per second, and how long it takes to load, in seconds."""

    speed: Callable[[Candidate], float]
    load_s: Callable[[Candidate], float] = lambda _: 1.0
    drift: Callable[[float], float] = lambda _: 1.0
    turn_s: float = 0.5
    clock: VirtualClock = field(default_factory=VirtualClock)
    loaded: list[Candidate] = field(default_factory=list)
    open: int = 0

    def enter(self, candidate: Candidate, limit_s: float) -> "Car":
        load_s = self.load_s(candidate)
        self.clock.now += min(load_s, limit_s)
        if load_s > limit_s:
            raise TooSlowError("it is not ready in time")
        if self.speed(candidate) == 0:
            raise WorkerError("it cannot be loaded")
        self.loaded.append(candidate)
        self.open += 1
        return Car(self, candidate, load_s)

    def race(self, budget_s: float) -> Race:
        return Race(START, self.enter, Budget(budget_s, self.clock))


@dataclass
class Car:
    machine: Machine
    candidate: Candidate
    load_s: float

    def turn(self, limit_s: float) -> Result:
        machine = self.machine
        machine.clock.now += min(machine.turn_s, limit_s)
        if machine.turn_s > limit_s:
            raise TooSlowError
        rate = machine.speed(self.candidate) * machine.drift(machine.clock.now)
        answered = round(1000 * rate)
        return Result(answered=answered, in_time=answered, seconds=1000, p99_ms=2)

    def close(self) -> None:
        self.machine.open -= 1
