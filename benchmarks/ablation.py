"""`python -m benchmarks.ablation`: what each part of admission buys."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt
from rich.console import Console

from benchmarks.command import RESULTS, Benchmark, configured, start
from benchmarks.records import Record, circumstances, markdown
from benchmarks.server import Server, serving
from cli.cores import usable_cores
from cli.tables import show_rows

if TYPE_CHECKING:
    from benchmarks.load.report import Report
    from benchmarks.load.runs import Load
    from benchmarks.load.wire import Wire

PARTS = ("forecast", "correction")
IN_FLIGHT = (1, 8, 32)
PATIENCE_S = 60.0
HEADER = (
    "parts", *(f"{n} in flight, img/s" for n in IN_FLIGHT), "lone p50, ms", "overload: in time/s",
    "p99 of the answered, ms", "wasted",
)  # fmt: skip


class Turn(BaseModel):
    """One variant in one round."""

    images_per_second: dict[int, float] = Field(description="by requests in flight")
    lone_p50_ms: float
    goodput: float = Field(description="img/s answered within the deadline, under overload")
    p99_ms: float = Field(description="of the answered, under overload")
    wasted: float = Field(
        description="share of the inferred images whose caller had left, under overload"
    )

    def figures(self) -> list[float]:
        """Return what stands in the table, in its order."""
        rates = [self.images_per_second[n] for n in IN_FLIGHT]
        return [*rates, self.lone_p50_ms, self.goodput, self.p99_ms, self.wasted]


class AblationRecord(Record):
    """A run of this benchmark."""

    model: str
    images: str
    times: float
    deadline_s: float
    turns: dict[str, list[Turn]] = Field(description="by variant, a turn per round")

    def cells(self) -> list[list[str]]:
        """Return a row per variant: the median of its turns, and their least and greatest."""
        return [[name, *_medians(turns)] for name, turns in self.turns.items()]


def _medians(turns: Sequence[Turn]) -> list[str]:
    columns = zip(*(turn.figures() for turn in turns), strict=True)
    *figures, wasted = [(median(column), min(column), max(column)) for column in columns]
    forms = [(middle, low, high, ".1f") for middle, low, high in figures] + [(*wasted, ".1%")]
    return [f"{middle:{form}} ({low:{form}} to {high:{form}})" for middle, low, high, form in forms]


class Variant:
    """A server with some parts, and a connection to it."""

    def __init__(self, server: Server, wire: "Wire", requests: Sequence[bytes]) -> None:
        self._server, self._wire, self._requests = server, wire, requests

    def run(self, load: "Load", seconds: float, timeout_s: float = PATIENCE_S) -> "Report":
        """Load it, first for a quarter of the time without counting."""
        from benchmarks.load.runs import measure

        [report] = measure(
            self._wire,
            [load],
            self._requests,
            seconds=seconds,
            warm_up_s=seconds / 4,
            timeout_s=timeout_s,
        )
        return report

    def ran(self) -> tuple[float, float]:
        """Return how many images ran, and how many of them in vain, once none is in flight."""
        while self._server.count("serving_inflight_images"):
            time.sleep(0.05)
        ran = self._server.count("serving_batch_images_sum")
        return ran, self._server.count("serving_wasted_images_total")


class Ablation(Benchmark):
    """Compare servers with and without the parts that decide which requests are refused."""

    model_config = configured("benchmarks.ablation")

    model: Path = Field(
        Path("build/benchmarks/resnext14_8x4d_224/1"), description="bundle directory"
    )
    images: str = Field("build/benchmarks/photos", description="file, folder or glob")
    rounds: PositiveInt = Field(5, description="how often every variant has its turn")
    duration_s: PositiveFloat = Field(4.0, description="length of a closed loop, in seconds")
    overload_s: PositiveFloat = Field(8.0, description="length of an overload, in seconds")
    times: PositiveFloat = Field(3.0, description="overload over capacity")
    deadline_s: PositiveFloat = Field(1.0, description="deadline under overload, in seconds")
    output: Path = Field(RESULTS, description="folder for ablation.json and ablation.md")

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        record = self._measure()
        table = record.cells()
        show_rows(HEADER, table, title="Median of the rounds (least to greatest)")
        record.write(self.output, "ablation", markdown(HEADER, table))

    def _measure(self) -> AblationRecord:
        from benchmarks.load.runs import Closed

        started = circumstances("benchmarks.ablation")
        turns: dict[str, list[Turn]] = {}
        with Console(stderr=True).status("Starting servers") as status, ExitStack() as stack:
            variants = {
                name: stack.enter_context(self._variant(without, flags))
                for name, without, flags in _variants()
            }
            names = list(variants)
            for number in range(self.rounds):
                best = variants[names[-1]].run(Closed(32), self.duration_s)
                for name in names if number % 2 else reversed(names):
                    status.update(f"Round {number + 1} of {self.rounds}: {name}")
                    turn = self._turn(variants[name], self.times * best.images_per_second)
                    turns.setdefault(name, []).append(turn)
        return AblationRecord(
            **started.model_dump(),
            model=str(self.model),
            images=self.images,
            times=self.times,
            deadline_s=self.deadline_s,
            turns={name: turns[name] for name in names},
        )

    def _turn(self, variant: Variant, rate: float) -> Turn:
        from benchmarks.load.runs import Closed, Open

        reports = {n: variant.run(Closed(n), self.duration_s) for n in IN_FLIGHT}
        ran, wasted = variant.ran()
        flood = variant.run(Open(rate), self.overload_s, self.deadline_s)
        ran_then, wasted_then = variant.ran()
        return Turn(
            images_per_second={n: report.images_per_second for n, report in reports.items()},
            lone_p50_ms=reports[1].latency_ms["p50"],
            goodput=flood.goodput,
            p99_ms=flood.latency_ms.get("p99", 0.0),
            wasted=(wasted_then - wasted) / max(ran_then - ran, 1),
        )

    @contextmanager
    def _variant(self, without: Sequence[str], flags: Sequence[str]) -> Iterator[Variant]:
        from benchmarks.load.wire import Wire, read_requests

        os.environ["ABLATED"] = ",".join(without)
        running = serving(self.model, *flags, module="benchmarks.ablated_server")
        with running as server, Wire(server.address) as wire:
            yield Variant(server, wire, read_requests(self.images))


def _variants() -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
    """Yield each variant's name, the parts that it lacks, and its flags: one part more each."""
    threads = ("--decode-threads", str(usable_cores().usable))
    yield "room and expiry", PARTS, threads
    for count, part in enumerate(PARTS, start=1):
        yield f"+ {part}", PARTS[count:], threads
    yield "+ instances decode", (), ("--decode-threads", "0")


if __name__ == "__main__":
    start(Ablation)
