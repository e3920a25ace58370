"""`python -m benchmarks.overload`: three times the capacity, and callers that cancel."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, PositiveFloat, PositiveInt
from rich.console import Console

from benchmarks.command import RESULTS, Benchmark, configured, start
from benchmarks.records import circumstances, markdown
from benchmarks.server import serving
from bundle.store import Bundle
from cli.tables import show_rows

if TYPE_CHECKING:
    from benchmarks.scenarios import OverloadRecord


class Overload(Benchmark):
    """Measure what is answered in time above capacity, and what cancelled calls waste."""

    model_config = configured("benchmarks.overload")

    model: Path = Field(
        Path("build/benchmarks/resnext14_8x4d_224/1"), description="bundle directory"
    )
    images: str = Field("build/benchmarks/photos", description="file, folder or glob")
    times: PositiveFloat = Field(3.0, description="load, as a multiple of the capacity")
    duration_s: PositiveFloat = Field(30.0, description="length of the overload, in seconds")
    deadline_s: PositiveFloat = Field(1.0, description="deadline of each request, in seconds")
    callers: PositiveInt = Field(256, description="callers at once, of which half cancel")
    rounds: PositiveInt = Field(3, description="how often all of it is done")
    output: Path = Field(RESULTS, description="folder for overload.json and overload.md")

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        # Imported here: by now gRPC's environment is set.
        from benchmarks.scenarios import HEADER

        record = self._measure()
        table = record.cells()
        show_rows(HEADER, table, title=f"{record.model}, {record.images}")
        record.write(self.output, "overload", markdown(HEADER, table))

    def _measure(self) -> "OverloadRecord":
        from benchmarks.load.wire import Wire, read_requests
        from benchmarks.scenarios import Caller, OverloadRecord

        bundle, started = Bundle.open(self.model), circumstances("benchmarks.overload")
        requests = read_requests(self.images)
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
    start(Overload)
