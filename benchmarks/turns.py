"""Servers that take turns under the same loads, and how they compare with the first of them."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import TypeVar

from pydantic import Field
from rich.console import Console

from benchmarks.records import Record
from benchmarks.server import LoadResult, Server

HEADER = (
    "load", "server", "img/s", "ratio", "CPU ms", "CPU ratio", "p50 ms", "p99 ms", "mean batch",
    "MiB",
)  # fmt: skip
Taken = TypeVar("Taken")


class Turns(Record):
    """A run of a benchmark that compares servers."""

    images: str
    duration_s: float
    turns: dict[str, dict[str, list[LoadResult]]] = Field(
        description="by load, then by server, a turn per round; ratios are to the first server"
    )

    def cells(self) -> list[list[str]]:
        """Return a row per load and server, of medians over the rounds."""
        return [
            [load, server, *_cells(turns, next(iter(servers.values())))]
            for load, servers in self.turns.items()
            for server, turns in servers.items()
        ]


def _cells(turns: Sequence[LoadResult], first: Sequence[LoadResult]) -> list[str]:
    pairs = list(zip(turns, first, strict=True))
    ratio = median(turn.images_per_second / other.images_per_second for turn, other in pairs)
    cpu_ratio = median(other.cpu_ms / turn.cpu_ms for turn, other in pairs)
    return [
        f"{median(turn.images_per_second for turn in turns):.1f}",
        f"{ratio:.2f}",
        f"{median(turn.cpu_ms for turn in turns):.2f}",
        f"{cpu_ratio:.2f}",
        f"{median(turn.p50_ms for turn in turns):.2f}",
        f"{median(turn.p99_ms for turn in turns):.2f}",
        f"{median(turn.batch_images for turn in turns):.1f}",
        f"{median(turn.memory_mib for turn in turns):.0f}",
    ]


def compared(
    servers: Mapping[str, Server],
    *,
    images: str,
    concurrency: Sequence[int],
    rounds: int,
    seconds: float,
) -> dict[str, dict[str, list[LoadResult]]]:
    """Load the servers by turns; return what each answered, by requests in flight and by name."""

    def turn(server: Server, in_flight: int) -> LoadResult:
        return server.load(images, seconds, "--concurrency", str(in_flight))

    def turns(in_flight: int) -> dict[str, list[LoadResult]]:
        takers = {
            name: lambda server=server: turn(server, in_flight) for name, server in servers.items()
        }
        return by_turns(takers, rounds)

    return {f"{in_flight} in flight": turns(in_flight) for in_flight in concurrency}


def by_turns(takers: Mapping[str, Callable[[], Taken]], rounds: int) -> dict[str, list[Taken]]:
    """Let each have a turn in every round, the last one first in every second round."""
    taken = dict[str, list[Taken]]({name: [] for name in takers})
    names = list(takers)
    with Console(stderr=True).status("") as status:
        for number in range(rounds):
            for name in reversed(names) if number % 2 else names:
                status.update(f"Round {number + 1} of {rounds}: {name}")
                taken[name].append(takers[name]())
    return taken
