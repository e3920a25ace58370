"""What may be chosen: a candidate, and those that lie around another one."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from bundle.kinds import Precision
from serving.backends.settings import Runtime

# Where the search for the largest batch begins: on CPUs larger ones are seldom faster, and their
# warm-up takes long.
FIRST_LARGEST = 4


class Kind(NamedTuple):
    """A runtime, the precision of one of its files, and the batch sizes that the file states."""

    runtime: Runtime
    precision: Precision
    buckets: tuple[int, ...]


class Candidate(NamedTuple):
    """Values of the server's settings of these names."""

    runtime: Runtime
    precision: Precision
    instances: int
    threads: int
    buckets: tuple[int, ...]

    def __str__(self) -> str:
        return (
            f"{self.runtime} {self.precision}, {self.instances} x {self.threads} threads, "
            f"batches up to {self.buckets[-1]}"
        )


Stage = Callable[[Candidate], Sequence[Candidate]]
"""Returns what to compare with the best candidate so far; that one itself may be among them."""


def stages(kinds: Sequence[Kind], cores: int) -> list[Stage]:
    """Return the steps of the search: one setting after the other, what promises most first.

    Args:
        kinds: what this machine can run of the bundle.
        cores: CPU cores that may be used.
    """
    sizes = {(kind.runtime, kind.precision): kind.buckets for kind in kinds}

    def small(best: Candidate) -> list[Candidate]:
        return [best._replace(buckets=_up_to(sizes[best[:2]], FIRST_LARGEST))]

    def files(best: Candidate) -> list[Candidate]:
        return [
            best._replace(
                runtime=kind.runtime,
                precision=kind.precision,
                buckets=_up_to(kind.buckets, best.buckets[-1]),
            )
            for kind in kinds
        ]

    def layouts(best: Candidate) -> list[Candidate]:
        return [best._replace(instances=i, threads=t) for i, t in _layouts(cores)]

    def largest(best: Candidate) -> list[Candidate]:
        held = sizes[best[:2]]
        now = held.index(best.buckets[-1]) if best.buckets[-1] in held else 0
        nearest_first = sorted(range(len(held)), key=lambda index: abs(index - now))
        return [best._replace(buckets=held[: index + 1]) for index in nearest_first]

    # The files once more, for another layout may suit another runtime.
    return [small, files, layouts, largest, files]


def _layouts(cores: int) -> list[tuple[int, int]]:
    """Return pairs of instances and threads: those that fill the cores, and one instance less.

    The one less leaves cores to the threads that decode.
    """
    threads = sorted({1 << power for power in range(cores.bit_length())} | {cores})
    full = [(cores // t, t) for t in threads if t <= cores]
    return list(dict.fromkeys([*full, *((i - 1, t) for i, t in full if i > 1)]))


def _up_to(buckets: Sequence[int], largest: int) -> tuple[int, ...]:
    """Return the batch sizes up to `largest`; the smallest one at least."""
    return tuple(size for size in buckets if size <= largest) or (buckets[0],)
