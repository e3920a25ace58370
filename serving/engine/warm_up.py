"""How long each batch size takes: measured in turns, until the best ones had enough of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from serving.engine.buckets import images_per_s
from serving.engine.latency import Clock

# The sizes run in turn for about this long, at most this many times.
TIMED_S, MOST_ROUNDS = 1.0, 40
# The first round may compile or allocate and is not counted. If it took longer than this, it is not
# repeated, and counts.
PATIENCE_S = 10.0
# A size above the fastest that gives less than this share of its images per second has lost: noise
# will not make it the fastest, and the others need its time.
HAS_LOST = 0.9
SCHEDSTAT = Path("/proc/thread-self/schedstat")


class Turn(NamedTuple):
    """What one run took, in seconds, and what it would have taken if no other program had run."""

    seconds: float
    alone_s: float


class Timing(NamedTuple):
    """What a size takes, in seconds: at its best, and usually."""

    least_s: float
    usual_s: float


def measure(sizes: Sequence[int], run: Callable[[int], float], clock: Clock) -> dict[int, Timing]:
    """Run each of the ascending sizes at least once; return what they take.

    They take turns, so that a busy moment of the machine does not slow down only one.

    Args:
        sizes: batch sizes.
        run: runs one of them; returns how long it took, in seconds.
        clock: monotonic time, in seconds.
    """
    started = clock()
    turns = {size: [_turn(size, run, clock)] for size in sizes}
    if clock() < started + PATIENCE_S:
        turns, left = {size: [] for size in sizes}, sizes
        for _ in range(MOST_ROUNDS - 1):
            for size in left:
                turns[size].append(_turn(size, run, clock))
            left = _not_lost({size: turns[size] for size in left})
            if clock() >= started + TIMED_S:
                break
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


def _turn(size: int, run: Callable[[int], float], clock: Clock) -> Turn:
    started, waited = clock(), waited_s()
    seconds = run(size)
    # Between the looks at the clock, so that what is left is never too little.
    waited = waited_s() - waited
    return Turn(seconds, clock() - started - waited)


def _timing(turns: Sequence[Turn]) -> Timing:
    return Timing(min(turn.alone_s for turn in turns), median(turn.seconds for turn in turns))


def _not_lost(turns: Mapping[int, Sequence[Turn]]) -> Sequence[int]:
    rates = {size: images_per_s(size, _timing(taken).least_s) for size, taken in turns.items()}
    fastest = max(rates, key=lambda size: rates[size])
    return [size for size in rates if size <= fastest or rates[size] > HAS_LOST * rates[fastest]]
