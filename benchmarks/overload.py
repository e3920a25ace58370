"""`python -m benchmarks.overload`: three times the capacity, and callers that leave."""

from pathlib import Path

from pydantic import Field, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict
from rich.console import Console

from benchmarks.records import RESULTS, Record, circumstances, markdown, show
from benchmarks.scenarios import Caller, Departure, Flood
from benchmarks.server import serving
from clients.bench.wire import Wire
from clients.files import find_images
from clients.messages import classify_request
from export.contract.bundle import Bundle

HEADER = ("what", "measured", "aim")


class OverloadRecord(Record):
    """A run of this benchmark."""

    model: str
    digest: str
    images: str
    flood: Flood
    departures: list[Departure]

    def cells(self) -> list[list[str]]:
        """Return the rows of the table."""
        flood, departures = self.flood, self.departures
        answered = sum(departure.answered for departure in departures)
        stayed = sum(departure.stayed for departure in departures)
        wasted = sum(d.wasted for d in departures) / sum(d.ran for d in departures)
        refused = ", ".join(f"{code} {count}" for code, count in sorted(flood.errors.items()))
        capacity = f"capacity, img/s ({flood.capacity_concurrency} in flight)"
        deadline = f"answered within {flood.deadline_s:g} s, img/s"
        return [
            [capacity, f"{flood.capacity:.1f}", ""],
            [f"offered for {flood.seconds:g} s, img/s", f"{flood.offered:.1f}", ""],
            [deadline, f"{flood.goodput:.1f}", ""],
            ["share of capacity", f"{flood.goodput / flood.capacity:.1%}", "≥ 90 %"],
            ["p50 and p99 of the answered, ms", _times(flood), ""],
            ["not answered", refused or "none", ""],
            ["CPU ms of the load tester per request", f"{flood.client_cpu_ms:.3f}", "≤ 0.3"],
            ["server memory at the start, MiB", f"{flood.memory_mib[0]:.0f}", ""],
            ["growth from first to last third, MiB", f"{flood.growth_mib:.1f}", "flat"],
            ["lone caller before, p50 ms", f"{flood.lone_before_ms:.2f}", ""],
            ["1 s after the load, p50 ms", f"{flood.lone_after_ms:.2f}", "the same"],
            ["half of the callers left: others answered", f"{answered} of {stayed}", "all"],
            ["inference for nobody", f"{wasted:.1%}", "≤ 5 %"],
        ]


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
    rounds: PositiveInt = Field(3, description="how often they do")
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
                flood=caller.flood(self.times, self.duration_s, self.deadline_s),
                departures=[caller.departure(self.callers) for _ in range(self.rounds)],
            )


def _times(flood: Flood) -> str:
    if flood.p50_ms is None or flood.p99_ms is None:
        return "none answered"
    return f"{flood.p50_ms:.0f}, {flood.p99_ms:.0f}"


if __name__ == "__main__":
    CliApp.run(Overload)
