"""Candidates against the defaults, by turns: a machine's speed drifts by a fifth in minutes."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from serving.errors import StartupError
from serving.tune.candidate import Candidate, Stage
from serving.tune.process import Result, TooSlowError, WorkerError
from serving.tune.trial import Pair, Trial

# Pairs of turns of a candidate: so many, and up to twice as many until it is clear whether it beats
# the best one; and of the best one at the end. A slow model has fewer: those of a candidate take at
# most this share of the budget.
PAIRS, FINAL_PAIRS = 3, 10
PAIRS_SHARE = 1 / 12
# A candidate that reaches less than this share of the best one has no further turns.
HOPELESS = 0.85
# A candidate must be this much faster than the best one so far to take its place. One that warms up
# smaller batches, and so takes less memory and time to load, need only be about as fast.
FASTER, AS_FAST = 1.02, 0.98
# Pairs for which time is kept at the end.
KEPT_PAIRS = 2


class Budget:
    """Counts down from `seconds`; `clock` is monotonic time, in seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self.clock = seconds, clock
        self._end = clock() + seconds

    @property
    def left_s(self) -> float:
        """Seconds until it is used up; below 0 after that."""
        return self._end - self.clock()


class Entrant(Protocol):
    """A loaded candidate."""

    load_s: float

    def turn(self, limit_s: float) -> Result:
        """Answer requests for a while; raise `WorkerError` or `TooSlowError`."""

    def close(self) -> None:
        """Free what it holds."""


Enter = Callable[[Candidate, float], Entrant]
"""Loads a candidate within a limit in seconds; raises `WorkerError` or `TooSlowError`."""


class Race:
    """Measures candidates, one after the other; the best one so far stays loaded.

    Loads the defaults, and raises what `enter` and their first turn raise.

    Args:
        start: the defaults.
        enter: loads a candidate.
        budget: the time for everything.

    Attributes:
        best: the best one so far; the defaults have no turns.
        is_short_of_time: whether a candidate was not measured because the time is over.
    """

    def __init__(self, start: Candidate, enter: Enter, budget: Budget) -> None:
        self._enter, self._budget = enter, budget
        self._defaults = enter(start, budget.left_s)
        self._loads = {start: self._defaults.load_s}
        began = budget.clock()
        self._defaults.turn(budget.left_s)
        self._pair_s = 2 * (budget.clock() - began)  # how long the last pair of turns took
        self._own_first = self.is_short_of_time = False
        self._best: Entrant | None = None
        self.best, self._to_beat = Trial(start), 1.0

    def search(
        self, stages: Sequence[Stage], tell: Callable[[Trial, int], None] = lambda *_: None
    ) -> list[Trial]:
        """Return what was tried, in order, each candidate once; `best` is the best of them.

        Settings are taken one at a time: their effects hardly depend on each other, and all
        combinations would take an hour. `tell` is told of each trial, and how many more there
        may be.
        """
        tried, trials = {self.best.candidate}, list[Trial]()
        for index, stage in enumerate(stages):
            ahead = [one for one in stage(self.best.candidate) if one not in tried]
            later = [one for each in stages[index + 1 :] for one in each(self.best.candidate)]
            left = len({*ahead, *later} - tried)
            for candidate in ahead:
                tried.add(candidate)
                trials.append(self._run(candidate))
                left -= 1
                tell(trials[-1], left)
        return trials

    def confirm(self) -> Trial:
        """Measure the best one anew: that it was the best of many was luck in part."""
        if self._best is None:
            return self.best
        pairs: list[Pair] = []
        try:
            while len(pairs) < FINAL_PAIRS and self._budget.left_s > self._pair_s:
                pairs.append(self._pair(self._best))
        except TooSlowError:
            pass  # the last pair took longer than those before; they count
        except WorkerError as error:
            return self.best._replace(pairs=tuple(pairs), note=f"failed: {error}")
        return self.best._replace(pairs=tuple(pairs))

    def _run(self, candidate: Candidate) -> Trial:
        """Measure a candidate, and make it the best if it is; or say why it was not measured."""
        limit_s = self._spare_s() - self._pair_s
        if (need_s := self._expected_load_s(candidate)) > limit_s:
            return self._skipped(candidate, f"it takes about {need_s:.1f} s to load", limit_s)
        try:
            entrant = self._enter(candidate, limit_s)
        except TooSlowError as error:
            return self._skipped(candidate, str(error), limit_s)
        except WorkerError as error:
            return Trial(candidate, note=f"failed: {error}")
        self._loads[candidate] = entrant.load_s
        trial = self._measured(entrant, candidate)
        is_smaller = _warmed(candidate) < _warmed(self.best.candidate)
        if trial.ratio >= self._to_beat * (AS_FAST if is_smaller else FASTER):
            self._replace(entrant, trial)
        else:
            entrant.close()
        return trial

    def _skipped(self, candidate: Candidate, reason: str, limit_s: float) -> Trial:
        self.is_short_of_time = True
        left = f"{max(0.0, limit_s):.1f} s of the budget are left for that"
        return Trial(candidate, note=f"skipped: {reason}, and {left}")

    def _measured(self, entrant: Entrant, candidate: Candidate) -> Trial:
        trial = Trial(candidate)
        try:
            while not self._is_enough(trial):
                trial = Trial(candidate, (*trial.pairs, self._pair(entrant)))
        except TooSlowError:
            self.is_short_of_time = True
            return Trial(candidate, note="given up: a turn took longer than the budget")
        except WorkerError as error:
            return Trial(candidate, note=f"failed: {error}")
        return trial

    def _pair(self, entrant: Entrant) -> Pair:
        """Take turns: the one that was second goes first the next time."""
        started, self._own_first = self._budget.clock(), not self._own_first
        if self._own_first:
            own = entrant.turn(self._budget.left_s)
            defaults = self._turn_of_defaults()
        else:
            defaults = self._turn_of_defaults()
            own = entrant.turn(self._budget.left_s)
        self._pair_s = self._budget.clock() - started
        return Pair(own, defaults)

    def _turn_of_defaults(self) -> Result:
        try:
            return self._defaults.turn(self._budget.left_s)
        except WorkerError as error:
            raise StartupError(f"the defaults failed while they were measured: {error}") from error

    def _spare_s(self) -> float:
        return self._budget.left_s - KEPT_PAIRS * self._pair_s

    def _expected_load_s(self, candidate: Candidate) -> float:
        """Return how long a load may take: as the most similar one, or by what it warms up."""
        same = {c: s for c, s in self._loads.items() if c[:2] == candidate[:2]} or self._loads
        nearest = min(same, key=lambda one: abs(_warmed(one) - _warmed(candidate)))
        return same[nearest] * min(1.0, _warmed(candidate) / _warmed(nearest))

    def _is_enough(self, trial: Trial) -> bool:
        """Whether it is clear that it beats the best one or not, or no time is left to find out."""
        if not (pairs := len(trial.pairs)):
            return False
        affordable = PAIRS_SHARE * self._budget.seconds / self._pair_s
        is_clear = abs(trial.ratio - self._to_beat) > trial.noise
        return (
            pairs >= min(2 * PAIRS, affordable)
            or self._spare_s() < self._pair_s
            or trial.ratio < HOPELESS * self._to_beat
            or (pairs >= PAIRS and is_clear)
        )

    def _replace(self, entrant: Entrant, trial: Trial) -> None:
        if self._best:
            self._best.close()
        self._best, self.best = entrant, trial
        self._to_beat = max(self._to_beat, trial.ratio)


def _warmed(candidate: Candidate) -> int:
    """Return the images that run when it is warmed up once."""
    return candidate.instances * sum(candidate.buckets)
