"""Candidates against the defaults, by turns: a machine's speed drifts by a fifth in minutes."""

from collections.abc import Callable
from typing import Protocol

from serving.errors import StartupError
from serving.tune.budget import Budget
from serving.tune.candidate import Candidate
from serving.tune.messages import Result
from serving.tune.process import TooSlowError, WorkerError
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

    Args:
        defaults: the defaults, loaded.
        start: what they are.
        enter: loads a candidate.
        budget: the time for everything.
        turn_s: how long a turn of the defaults takes, in seconds.
    """

    def __init__(
        self, defaults: Entrant, start: Candidate, enter: Enter, budget: Budget, turn_s: float
    ) -> None:
        self._defaults, self._enter, self._budget = defaults, enter, budget
        self._loads = {start: defaults.load_s}
        self._pair_s = 2 * turn_s  # how long the last pair of turns took
        self._own_first = False
        self._best: Entrant | None = None
        self.best = Trial(start)
        self.to_beat = 1.0

    def run(self, candidate: Candidate) -> Trial:
        """Measure a candidate, and make it the best if it is."""
        spare_s = self._spare_s()
        if (need_s := self._expected_load_s(candidate) + self._pair_s) > spare_s:
            left = f"{max(0.0, spare_s):.1f} s of the budget are left"
            note = f"skipped: about {need_s:.1f} s to load and measure, {left}"
            return Trial(candidate, note=note)
        try:
            entrant = self._enter(candidate, spare_s - self._pair_s)
        except TooSlowError:
            note = f"skipped: not loaded within {spare_s - self._pair_s:.1f} s"
            return Trial(candidate, note=note)
        except WorkerError as error:
            return Trial(candidate, note=f"failed: {error}")
        self._loads[candidate] = entrant.load_s
        trial = self._measured(entrant, candidate)
        is_smaller = _warmed(candidate) < _warmed(self.best.candidate)
        if trial.ratio >= self.to_beat * (AS_FAST if is_smaller else FASTER):
            self._replace(entrant, trial)
        else:
            entrant.close()
        return trial

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

    def _measured(self, entrant: Entrant, candidate: Candidate) -> Trial:
        pairs: list[Pair] = []
        try:
            while not pairs or not self._is_enough(Trial(candidate, tuple(pairs))):
                pairs.append(self._pair(entrant))
        except TooSlowError:
            return Trial(candidate, note="given up: a turn took longer than the budget")
        except WorkerError as error:
            return Trial(candidate, note=f"failed: {error}")
        return Trial(candidate, tuple(pairs))

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
        pairs, affordable = len(trial.pairs), PAIRS_SHARE * self._budget.seconds / self._pair_s
        is_clear = abs(trial.ratio - self.to_beat) > trial.noise
        return (
            pairs >= min(2 * PAIRS, affordable)
            or self._spare_s() < self._pair_s
            or trial.ratio < HOPELESS * self.to_beat
            or (pairs >= PAIRS and is_clear)
        )

    def _replace(self, entrant: Entrant, trial: Trial) -> None:
        if self._best:
            self._best.close()
        self._best, self.best = entrant, trial
        self.to_beat = max(self.to_beat, trial.ratio)


def _warmed(candidate: Candidate) -> int:
    """Return the images that run when it is warmed up once."""
    return candidate.instances * sum(candidate.buckets)
