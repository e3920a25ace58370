"""What was measured of a candidate: its turns, each beside one of the defaults."""

import math
from statistics import fmean, median, stdev
from typing import NamedTuple

from serving.tune.candidate import Candidate
from serving.tune.process import Result


class Pair(NamedTuple):
    """A turn of a candidate, and one of the defaults right before or after it."""

    candidate: Result
    defaults: Result

    @property
    def ratio(self) -> float:
        """Goodput over that of the defaults, which the machine's drifting speed does not change."""
        own, theirs = self.candidate.goodput, self.defaults.goodput
        if theirs == 0:  # nothing that they answer is in time: as if one answer had been
            return own * self.defaults.seconds if own else 1.0
        return own / theirs


class Trial(NamedTuple):
    """A candidate and its turns; without any, `note` says why it was not measured."""

    candidate: Candidate
    pairs: tuple[Pair, ...] = ()
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times as fast as the defaults it is: the mean over its turns; 0 without any."""
        return fmean(pair.ratio for pair in self.pairs) if self.pairs else 0.0

    @property
    def noise(self) -> float:
        """Two standard errors of `ratio`; unknown, which is infinite, after a single turn."""
        ratios = [pair.ratio for pair in self.pairs]
        if len(ratios) < 2:
            return math.inf
        return 2 * stdev(ratios) / math.sqrt(len(ratios))

    @property
    def goodput(self) -> float:
        """Median of the images per second answered in time."""
        return median(pair.candidate.goodput for pair in self.pairs)

    @property
    def p99_ms(self) -> float:
        """Median of the turns' 99th percentiles of latency, in milliseconds."""
        return median(pair.candidate.p99_ms for pair in self.pairs)
