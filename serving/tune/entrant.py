"""Candidates that take part: how they are loaded, and how hard they are driven."""

import math
from contextlib import ExitStack
from pathlib import Path

from cli.cores import usable_cores
from serving.tune.candidate import Candidate
from serving.tune.config import TuneConfig
from serving.tune.process import Job, Result, Turn, Worker, uninterrupted
from serving.tune.race import Budget

# A turn lasts this part of the budget, and within these bounds, in seconds.
TURN_SHARE, SHORTEST_S, LONGEST_S = 1 / 180, 0.25, 1.0
# Without a flag: images in flight, per core and at least.
IN_FLIGHT_PER_CORE, FEWEST_IN_FLIGHT = 16, 32
# Fewer answers than this in a turn say little.
FEWEST_ANSWERS = 16
# More images in flight than are answered in this time only make a turn longer, in seconds.
QUEUE_S = 2.0


class LoadedWorker:
    """A candidate that is loaded and warm: how long that took, and what it does in each turn."""

    def __init__(self, worker: Worker, load_s: float, turn: Turn) -> None:
        self.load_s, self._worker, self._turn = load_s, worker, turn

    def turn(self, limit_s: float) -> Result:
        """Answer requests for the time of a turn."""
        return self._worker.ask(self._turn, Result, limit_s)

    def close(self) -> None:
        """End the process."""
        self._worker.close()


class Stable:
    """Loads candidates of one bundle; every worker ends with the `stack`.

    All are driven as suits the first one, which must be the defaults. With an SLO each has as many
    images in flight as give it the most images per second of which 99 of 100 are in time.
    """

    def __init__(
        self, stack: ExitStack, config: TuneConfig, photos: list[Path], budget: Budget
    ) -> None:
        self._stack, self._config, self._photos = stack, config, photos
        self._budget = budget
        self._turn: Turn | None = None

    def load(self, candidate: Candidate, limit_s: float) -> LoadedWorker:
        """Return a candidate that is ready for its turns.

        Raises:
            WorkerError: it cannot be loaded.
            TooSlowError: it is not within `limit_s` seconds.
        """
        limit, names = Budget(limit_s, self._budget.clock), ("slo_ms", "lite_python", "cache_dir")
        settings = candidate._asdict() | {name: getattr(self._config, name) for name in names}
        with uninterrupted():
            job = Job(model=self._config.model, settings=settings, photos=self._photos)
            worker = self._stack.enter_context(Worker(job))
        try:
            worker.loaded(limit.left_s)
            self._turn = self._turn or self._suiting(worker, limit)
            # First decodes take longer, and the engine learns how long they take.
            short = self._turn.model_copy(update={"seconds": SHORTEST_S})
            worker.ask(short, Result, limit.left_s)
            turn = self._climbed(worker, self._turn, limit)
        except BaseException:
            worker.close()
            raise
        return LoadedWorker(worker, limit_s - limit.left_s, turn)

    def _suiting(self, worker: Worker, limit: Budget) -> Turn:
        """Return turns for a model as fast as this: a slow one takes its time."""
        cores, asked = usable_cores().usable, self._config.in_flight
        most = asked or max(FEWEST_IN_FLIGHT, IN_FLIGHT_PER_CORE * cores)
        probe = Turn(seconds=SHORTEST_S, in_flight=min(most, 4 * cores))
        for _ in range(2):  # the first one is not warm
            result = worker.ask(probe, Result, limit.left_s)
        rate = result.answered / result.seconds
        turn_s = min(LONGEST_S, max(SHORTEST_S, TURN_SHARE * self._budget.seconds))
        enough = asked or max(probe.in_flight, math.ceil(QUEUE_S * rate))
        return Turn(seconds=max(turn_s, FEWEST_ANSWERS / rate), in_flight=min(most, enough))

    def _climbed(self, worker: Worker, turn: Turn, limit: Budget) -> Turn:
        """With an SLO, double the images in flight while they are answered within it."""
        slo_ms, best, most, in_flight = self._config.slo_ms, 1, -math.inf, 1
        if slo_ms is None:
            return turn
        while in_flight <= turn.in_flight:
            half = Turn(seconds=turn.seconds / 2, in_flight=in_flight)
            result = worker.ask(half, Result, limit.left_s)
            if result.p99_ms > slo_ms:
                break
            if result.goodput > most:
                best, most = in_flight, result.goodput
            in_flight *= 2
        return Turn(seconds=turn.seconds, in_flight=best)
