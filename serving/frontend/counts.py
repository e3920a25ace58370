"""What a front end counts: told as totals with its heartbeats, added where metrics are read."""

from collections.abc import Mapping

from prometheus_client import Counter

from serving.callers import Callers
from serving.logs import dropped
from serving.metrics import value


def counters(callers: Callers) -> dict[str, Counter]:
    """Return the counters of what happens in a process that takes calls, by a name."""
    found = {f"lines/{reason}": counter for reason, counter in dropped().items()}
    if callers.guard:
        refusals = callers.guard.refusals
        found |= {f"refusals/{reason}": counter for reason, counter in refusals.items()}
    if callers.recorder:
        spans = callers.recorder.spans
        found |= {f"spans/{outcome}": counter for outcome, counter in spans.items()}
    return found


def totals(counters: Mapping[str, Counter]) -> dict[str, int]:
    """Return what they show, without those that show nothing."""
    return {name: total for name, counter in counters.items() if (total := value(counter))}


class Sum:
    """Adds what one front end counts to the engine's counters.

    Args:
        counters: the engine's, by the same names.
    """

    def __init__(self, counters: Mapping[str, Counter]) -> None:
        self._counters = counters
        self._added: dict[str, int] = {}

    def add(self, totals: Mapping[str, int]) -> None:
        """Add what is new in a front end's totals."""
        for name, total in totals.items():
            self._counters[name].inc(total - self._added.get(name, 0))
            self._added[name] = total
