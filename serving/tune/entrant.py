"""A worker that takes part: how it is loaded, and how hard it is driven."""

import math
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from cli.cores import usable_cores
from serving.tune.budget import Budget
from serving.tune.candidate import Candidate
from serving.tune.messages import Job, Result, Turn
from serving.tune.process import Worker, uninterrupted

# A turn lasts this part of the budget, and within these bounds, in seconds.
TURN_SHARE, SHORTEST_S, LONGEST_S = 1 / 180, 0.25, 1.0
# Without a flag: images in flight, per core and at least.
IN_FLIGHT_PER_CORE, FEWEST_IN_FLIGHT = 16, 32
# Fewer answers than this in a turn say little.
FEWEST_ANSWERS = 16
# More images in flight than are answered in this time only make a turn longer, in seconds.
QUEUE_S = 2.0


class Load(NamedTuple):
    """How a candidate is driven: seconds of a turn, images in flight (at most), the SLO."""

    turn_s: float
    in_flight: int
    slo_ms: int | None


class LoadedWorker:
    """A candidate that is loaded and warm; it is driven with as much as suits it best.

    Without an SLO that is the same for every candidate. With one it is what gives the most images
    per second of which 99 of 100 are in time.
    """

    def __init__(self, worker: Worker, load_s: float, load: Load, budget: Budget) -> None:
        self.load_s, self._worker, self._load = load_s, worker, load
        # First decodes take longer, and the engine learns how long they take.
        worker.ask(Turn(seconds=SHORTEST_S, in_flight=load.in_flight), Result, budget.left_s)
        self._in_flight = load.in_flight if load.slo_ms is None else self._climb(budget)

    def turn(self, limit_s: float) -> Result:
        """Answer requests for the time of a turn."""
        turn = Turn(seconds=self._load.turn_s, in_flight=self._in_flight)
        return self._worker.ask(turn, Result, limit_s)

    def close(self) -> None:
        """End the process."""
        self._worker.close()

    def _climb(self, budget: Budget) -> int:
        """Double the images in flight while they are answered within the SLO."""
        slo_ms, best, most, in_flight = self._load.slo_ms, 1, -math.inf, 1
        while slo_ms and in_flight <= self._load.in_flight:
            turn = Turn(seconds=self._load.turn_s / 2, in_flight=in_flight)
            result = self._worker.ask(turn, Result, budget.left_s)
            if result.p99_ms > slo_ms:
                break
            if result.goodput > most:
                best, most = in_flight, result.goodput
            in_flight *= 2
        return best


class Stable(NamedTuple):
    """Loads candidates of one bundle; every worker ends with the `stack`."""

    stack: ExitStack
    model: Path
    photos: list[Path]
    settings: Mapping[str, object]
    budget: Budget

    def open(self, candidate: Candidate, limit_s: float) -> tuple[Worker, float]:
        """Return a loaded worker and how long that took, in seconds.

        Raises:
            WorkerError: it cannot be loaded.
            TooSlowError: it is not within `limit_s` seconds.
        """
        started = self.budget.clock()
        job = Job.of(candidate, self.model, self.photos, **self.settings)
        with uninterrupted():
            worker = self.stack.enter_context(Worker(job))
        try:
            worker.loaded(limit_s)
        except Exception:
            worker.close()
            raise
        return worker, self.budget.clock() - started


def drive(worker: Worker, budget: Budget, in_flight: int | None, slo_ms: int | None) -> Load:
    """Return how to drive candidates, by how fast the defaults are: a slow model takes its time.

    `in_flight` is what the user asks for.
    """
    cores = usable_cores().usable
    most = in_flight or max(FEWEST_IN_FLIGHT, IN_FLIGHT_PER_CORE * cores)
    probe = Turn(seconds=SHORTEST_S, in_flight=min(most, 4 * cores))
    for _ in range(2):  # the first one is not warm
        result = worker.ask(probe, Result, budget.left_s)
    rate = result.answered / result.seconds
    turn_s = min(LONGEST_S, max(SHORTEST_S, TURN_SHARE * budget.seconds))
    enough = in_flight or max(probe.in_flight, math.ceil(QUEUE_S * rate))
    return Load(max(turn_s, FEWEST_ANSWERS / rate), min(most, enough), slo_ms)
