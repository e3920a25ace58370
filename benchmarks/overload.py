"""`python -m benchmarks.overload`: three times the capacity, and callers that leave."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from pydantic import Field, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict
from rich.console import Console

from benchmarks.load.wire import Wire
from benchmarks.records import RESULTS, Record, circumstances, markdown, show
from benchmarks.scenarios import Caller, Departure, Flood
from benchmarks.server import serving
from bundle.store import Bundle
from clients.files import find_images
from clients.messages import classify_request

HEADER = ("what", "median", "each round", "aim")


class OverloadRecord(Record):
    """A run of this benchmark."""

    model: str
    digest: str
    images: str
    floods: list[Flood]
    departures: list[Departure]

    def cells(self) -> list[list[str]]:
        """Return the rows of the table."""
        floods, departures = self.floods, self.departures
        answered = sum(departure.answered for departure in departures)
        stayed = sum(departure.stayed for departure in departures)
        wasted = sum(d.wasted for d in departures) / sum(d.ran for d in departures)
        errors = sum((Counter(flood.errors) for flood in floods), Counter[str]())
        refused = ", ".join(f"{code} {count}" for code, count in sorted(errors.items()))
        seconds, deadline_s = floods[0].seconds, floods[0].deadline_s
        return [
            _row("capacity before, img/s", ".1f", "", [f.capacities[0] for f in floods]),
            _row("capacity after, img/s", ".1f", "", [f.capacities[1] for f in floods]),
            _row(f"offered for {seconds:g} s, img/s", ".1f", "", [f.offered for f in floods]),
            _row(
                f"answered within {deadline_s:g} s, img/s", ".1f", "", [f.goodput for f in floods]
            ),
            _row("share of capacity", ".1%", "≥ 90 %", [f.share for f in floods]),
            _row("p50 of the answered, ms", ".0f", "", [f.p50_ms for f in floods]),
            _row("p99 of the answered, ms", ".0f", "", [f.p99_ms for f in floods]),
            ["not answered", refused or "none", "", ""],
            _row("load tester, CPU ms/request", ".3f", "≤ 0.3", [f.client_cpu_ms for f in floods]),
            _row("server memory before, MiB", ".0f", "", [f.memory_mib[0] for f in floods]),
            _row("growth, first to last third", ".1f", "flat", [f.growth_mib for f in floods]),
            _row("lone caller before, p50 ms", ".2f", "", [f.lone_before_ms for f in floods]),
            _row("1 s after, p50 ms", ".2f", "the same", [f.lone_after_ms for f in floods]),
            ["half of the callers left: others answered", f"{answered} of {stayed}", "", "all"],
            ["inference for nobody", f"{wasted:.1%}", "", "≤ 5 %"],
        ]


def _row(what: str, form: str, aim: str, values: Sequence[float | None]) -> list[str]:
    """Return a row: the median, each round, the aim; None is a round in which nobody answered."""
    known = [value for value in values if value is not None]
    each = ", ".join("-" if value is None else f"{value:{form}}" for value in values)
    return [what, f"{median(known):{form}}" if known else "-", each, aim]


class Overload(BaseSettings):
    """Measure what is answered in time at a multiple of the capacity, and what cancels waste."""

    model_config = SettingsConfigDict(
        env_prefix="BENCH_OVERLOAD_", cli_prog_name="python -m benchmarks.overload",
        cli_kebab_case=True,
    )  # fmt: skip

    model: Path = Field(
        Path("build/benchmarks/resnext14_8x4d_224/1"), description="bundle directory"
    )
    images: str = Field("build/benchmarks/photos", description="file, folder or glob")
    times: PositiveFloat = Field(3.0, description="load over capacity")
    duration_s: PositiveFloat = Field(30.0, description="length of the overload, in seconds")
    deadline_s: PositiveFloat = Field(1.0, description="deadline of each request, in seconds")
    callers: PositiveInt = Field(256, description="callers at once, of whom half leave")
    rounds: PositiveInt = Field(3, description="how often all of it happens")
    output: Path = Field(RESULTS, description="folder for overload.json and overload.md")

    def cli_cmd(self) -> None:
        """Measure, print the table, and write the record."""
        record = self._measure()
        show(f"{record.model}, {record.images}", HEADER, table := record.cells())
        record.write(self.output, "overload", markdown(HEADER, table))

    def _measure(self) -> OverloadRecord:
        bundle, started = Bundle.open(self.model), circumstances("benchmarks.overload")
        requests = [
            classify_request(
                [path], top_k=1, model="", version="", full_probabilities=False
            ).SerializeToString()
            for path in find_images([self.images])
        ]
        status = Console(stderr=True).status("Overloading a server")
        with status, serving(self.model) as server, Wire(server.address) as wire:
            caller = Caller(server, wire, requests)
            return OverloadRecord(
                **started.model_dump(),
                model=f"{bundle.manifest.name}/{bundle.manifest.version}",
                digest=bundle.digest,
                images=self.images,
                floods=[
                    caller.flood(self.times, self.duration_s, self.deadline_s)
                    for _ in range(self.rounds)
                ],
                departures=[caller.departure(self.callers) for _ in range(self.rounds)],
            )


if __name__ == "__main__":
    CliApp.run(Overload)
