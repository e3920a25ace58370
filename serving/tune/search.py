"""The search: one setting after the other, each time from the best candidate so far."""

from collections.abc import Callable, Sequence
from typing import Protocol

from serving.tune.candidate import Candidate, Stage
from serving.tune.trial import Trial

Tell = Callable[[Trial, int], None]
"""Is told of each trial, and how many more there may be."""


class Referee(Protocol):
    """Measures candidates, and knows the best one."""

    best: Trial

    def run(self, candidate: Candidate) -> Trial:
        """Measure a candidate, or say why not."""


def search(
    race: Referee, start: Candidate, stages: Sequence[Stage], tell: Tell = lambda *_: None
) -> list[Trial]:
    """Return what was tried, in order, each candidate once; `race.best` is the best of them.

    Settings are taken one at a time: their effects hardly depend on each other, and all
    combinations would take an hour.
    """
    tried, trials = {start}, list[Trial]()
    for index, stage in enumerate(stages):
        ahead = [one for one in stage(race.best.candidate) if one not in tried]
        later = [one for each in stages[index + 1 :] for one in each(race.best.candidate)]
        left = len({*ahead, *later} - tried)
        for candidate in ahead:
            tried.add(candidate)
            trials.append(race.run(candidate))
            left -= 1
            tell(trials[-1], left)
    return trials
