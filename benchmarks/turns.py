"""Servers that take turns under the same loads, and how they compare with the first of them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Protocol, TypeVar

from pydantic import Field, PositiveFloat, PositiveInt
from rich.console import Console

from benchmarks.command import RESULTS, Benchmark
from benchmarks.records import Record, markdown
from benchmarks.server import LoadResult
from cli.tables import show_rows

HEADER = (
    "load", "server", "img/s", "ratio", "CPU ms", "CPU ratio", "p50 ms", "p99 ms", "mean batch",
    "MiB",
)  # fmt: skip
Taken = TypeVar("Taken")


class Loaded(Protocol):
    """A server, or a way of calling one."""

    def load(self, images: str, seconds: float, *load: str) -> LoadResult:
        """Run the load tester with these flags."""


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


class Comparison(Benchmark):
    """Compare servers that take turns."""

    model: Path = Field(
        Path("build/benchmarks/resnext14_8x4d_224/1"), description="bundle directory"
    )
    images: str = Field("build/benchmarks/photos", description="file, folder or glob")
    concurrency: list[PositiveInt] = Field(
        [1, 32], description="requests in flight, comma-separated"
    )
    rounds: PositiveInt = Field(4, description="how often all take turns")
    duration_s: PositiveFloat = Field(5.0, description="length of each turn, in seconds")
    output: Path = Field(RESULTS, description="folder for the record")

    def write(self, record: Turns, name: str, page: str = "") -> None:
        """Print the table, and write the record."""
        table = record.cells()
        show_rows(HEADER, table, title=f"{self.model}, {record.images}", text_columns=2)
        record.write(self.output, name, page + markdown(HEADER, table, text_columns=2))

    def compare(self, servers: Mapping[str, Loaded]) -> dict[str, dict[str, list[LoadResult]]]:
        """Load the servers; return what each answered, by requests in flight and by name."""

        def turns(in_flight: int) -> dict[str, list[LoadResult]]:
            flags = "--concurrency", str(in_flight)
            load = {
                name: partial(server.load, self.images, self.duration_s, *flags)
                for name, server in servers.items()
            }
            return by_turns(load, self.rounds)

        return {f"{in_flight} in flight": turns(in_flight) for in_flight in self.concurrency}


def _cells(turns: Sequence[LoadResult], first: Sequence[LoadResult]) -> list[str]:
    pairs = list(zip(turns, first, strict=True))
    ratio = median(turn.images_per_second / other.images_per_second for turn, other in pairs)
    batch = median(turn.batch_images for turn in turns)
    cpu_ratio = median(other.cpu_ms / turn.cpu_ms for turn, other in pairs)
    return [
        f"{median(turn.images_per_second for turn in turns):.1f}",
        f"{ratio:.2f}",
        f"{median(turn.cpu_ms for turn in turns):.2f}",
        f"{cpu_ratio:.2f}",
        f"{median(turn.p50_ms for turn in turns):.2f}",
        f"{median(turn.p99_ms for turn in turns):.2f}",
        f"{batch:.1f}" if batch else "-",  # some protocols do not say
        f"{median(turn.memory_mib for turn in turns):.0f}",
    ]


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
