"""How long each batch size takes: measured in turns, until the best ones had enough of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from serving.engine.buckets import contenders
from serving.engine.latency import Clock
from serving.threads import is_in_background

# The first round may compile or allocate and is not counted. If it took longer than this, it is not
# repeated, and counts.
PATIENCE_S = 10.0
# The others count: one of all sizes, then those that may be the fastest go on. Together they take
# about this long, and are at most so many.
TIMED_S, MOST_ROUNDS = 1.0, 40
SCHEDSTAT = Path("/proc/thread-self/schedstat")


class Turn(NamedTuple):
    """What one run took, in seconds, and what it would have taken if no other program had run."""

    seconds: float
    alone_s: float


class Timing(NamedTuple):
    """What a size takes, in seconds: at its best, and usually."""

    least_s: float
    usual_s: float


class Measured(NamedTuple):
    """What a warm-up has found out: times of each instance by batch size, and of wide batches.

    Wide are those sizes that are worth it, in seconds.
    """

    instances: list[dict[int, Timing]]
    wide: dict[int, float]


def measure(sizes: Sequence[int], run: Callable[[int], float], clock: Clock) -> dict[int, Timing]:
    """Run each of the ascending sizes at least once; return what they take.

    They take turns, so that a busy moment of the machine does not slow down only one.

    Args:
        sizes: batch sizes.
        run: runs one of them; returns how long it took, in seconds.
        clock: monotonic time, in seconds.
    """
    started = clock()
    turns = _round(sizes, run, clock)
    if clock() >= started + PATIENCE_S:
        return {size: _timing(taken) for size, taken in turns.items()}
    started, turns = clock(), _round(sizes, run, clock)
    for _ in range(MOST_ROUNDS - 1):
        if clock() >= started + TIMED_S:
            break
        left = contenders({size: _timing(taken).least_s for size, taken in turns.items()})
        for size, taken in _round(left, run, clock).items():
            turns[size] += taken
    return {size: _timing(taken) for size, taken in turns.items()}


def waited_s() -> float:
    """Return how long this thread has waited for a core while it could have run, in seconds.

    From the scheduler of Linux (proc(5), `schedstat`); 0 where it does not tell. Wall time less
    this is right wherever the work is done: on this thread, on others, on a GPU.
    """
    try:
        return int(SCHEDSTAT.read_text().split()[1]) * 1e-9
    except (OSError, IndexError, ValueError):
        return 0.0


def _round(
    sizes: Sequence[int], run: Callable[[int], float], clock: Clock
) -> dict[int, list[Turn]]:
    return {size: [_turn(size, run, clock)] for size in sizes}


def _turn(size: int, run: Callable[[int], float], clock: Clock) -> Turn:
    started, waited = clock(), waited_s()
    seconds = run(size)
    # Between the looks at the clock, so that what is left is never too little.
    waited = waited_s() - waited
    return Turn(seconds, clock() - started - waited)


def _timing(turns: Sequence[Turn]) -> Timing:
    # What a thread of low priority waits for others says nothing of one that will not.
    usual = [turn.alone_s if is_in_background() else turn.seconds for turn in turns]
    return Timing(min(turn.alone_s for turn in turns), median(usual))
