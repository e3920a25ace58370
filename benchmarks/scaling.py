"""`python -m benchmarks.scaling`: how many cores and front ends a fast GPU needs, simulated.

Nothing of this runs a server. What an image costs each process was measured, by
`benchmarks.frontends` and `benchmarks.decoders`; that processes wait for each other, for Python's
lock and for cores is simulated. The runs of `benchmarks.frontends` are simulated, too, so that one
can see how far that is from what was measured.
"""

from pathlib import Path

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from rich.console import Console
from rich.progress import track

from benchmarks.command import RESULTS, Benchmark, configured, start
from benchmarks.fake_server import BATCH_S
from benchmarks.frontends import Cost as Measured
from benchmarks.frontends import FrontEndRecord
from benchmarks.records import circumstances, markdown
from benchmarks.scaling_costs import (
    Cost,
    Costs,
    DeviceCurve,
    Milliseconds,
    decode_costs,
    read,
    server_costs,
)
from benchmarks.scaling_record import (
    CHECK_HEADER,
    COST_HEADER,
    HEADER,
    Check,
    Point,
    ScalingRecord,
    cost_cells,
)
from benchmarks.scaling_server import Setup, Simulation
from cli.program import UsageError
from cli.tables import show_rows

FAKE_BATCH = 32
FLAG = "flag"


class Scaling(Benchmark):
    """Simulate a server on more cores and a faster device than there are here, and draw it."""

    model_config = configured("benchmarks.scaling")

    cores: list[PositiveInt] = Field(
        [1, 2, 4, 8, 12, 16, 24, 32, 48, 64], description="comma-separated"
    )
    frontends: list[NonNegativeInt] = Field([0, 1, 2, 4, 8, 16], description="comma-separated")
    device_images_per_second: PositiveFloat = Field(5000, description="in full batches")
    batch: PositiveInt = Field(64, description="images in a full batch")
    device_fixed_ms: Milliseconds = Field(2, description="of each batch, whatever its size")
    in_flight: PositiveInt = Field(256, description="requests of one image, always")
    alone_ms: Milliseconds | None = Field(
        None, description="CPU time per image of a server without front ends, beside decoding; "
        "unset, as those below: from --record",
    )  # fmt: skip
    engine_ms: Milliseconds | None = Field(None, description="of an engine with front ends")
    frontend_ms: Milliseconds | None = Field(None, description="of a front end, likewise")
    decode_ms: Milliseconds | None = Field(
        None, description="to decode an image; unset, as the next: a photo's, from --decoders"
    )
    locked_ms: Milliseconds | None = Field(None, description="of that, what holds Python's lock")
    record: Path = Field(RESULTS / "frontends.json", description="of benchmarks.frontends")
    decoders: Path = Field(RESULTS / "decoders.json", description="of benchmarks.decoders")
    duration_s: PositiveFloat = Field(2.0, description="simulated time of each point, in seconds")
    seed: int = Field(0, description="of the times, which differ from image to image")
    picture: Path = Field(Path("docs/scaling.svg"), description="SVG or PNG file to write")
    output: Path = Field(RESULTS, description="folder for scaling.json and scaling.md")

    def run(self) -> None:
        """Simulate, print the tables, and write record and picture."""
        from benchmarks.scaling_picture import draw

        started, costs, device = circumstances("benchmarks.scaling"), self._costs(), self._device()
        checks = []
        if self.record.exists():
            measured = read(FrontEndRecord, self.record, "benchmarks.frontends")
            checks = [check(cost, measured.machine.cores, self.seed) for cost in measured.costs]
        sizes = [(n, cores) for n in self.frontends for cores in self.cores]
        points = [
            self._point(costs, device, n, cores)
            for n, cores in track(sizes, "Simulating", console=Console(stderr=True))
        ]
        record = ScalingRecord(
            **started.model_dump(),
            costs=costs,
            device=device,
            in_flight=self.in_flight,
            checks=checks,
            points=points,
        )
        self._show(record)
        draw(record, self.picture)

    def _show(self, record: ScalingRecord) -> None:
        tables = {
            "What an image costs": (COST_HEADER, cost_cells(record.costs), 2),
            "Measured and simulated": (CHECK_HEADER, [c.cells() for c in record.checks], 1),
            "Simulated": (HEADER, [point.cells() for point in record.points], 1),
        }
        page = ""
        for title, (header, rows, columns) in tables.items():
            if rows:
                show_rows(header, rows, title=title)
                page += f"{title}:\n\n{markdown(header, rows, columns)}\n"
        record.write(self.output, "scaling", page)

    def _point(self, costs: Costs, device: DeviceCurve, frontends: int, cores: int) -> Point:
        outcome = Simulation(
            Setup(
                cores=cores,
                frontends=frontends,
                costs=costs,
                device=device,
                in_flight=self.in_flight,
                seconds=self.duration_s,
                seed=self.seed,
            )
        ).run()
        return Point(
            frontends=frontends,
            cores=cores,
            images_per_second=outcome.images_per_second,
            mean_ms=1e3 * outcome.mean_s,
            bound=outcome.bound,
            shares=dict(outcome.shares),
        )

    def _device(self) -> DeviceCurve:
        full_ms = 1e3 * self.batch / self.device_images_per_second
        if self.device_fixed_ms > full_ms:
            raise UsageError(
                f"a full batch takes {full_ms:g} ms (--batch, --device-images-per-second): "
                f"{self.device_fixed_ms:g} ms of it cannot be fixed (--device-fixed-ms)"
            )
        return DeviceCurve(
            images_per_second=self.device_images_per_second,
            batch=self.batch,
            fixed_ms=self.device_fixed_ms,
        )

    def _costs(self) -> Costs:
        """Return the costs that flags give, and for the others those of the records."""
        flags = {
            "alone": self.alone_ms,
            "engine": self.engine_ms,
            "frontend": self.frontend_ms,
            "decode": self.decode_ms,
            "locked": self.locked_ms,
        }
        given = {name: Cost(ms=ms, source=FLAG) for name, ms in flags.items() if ms is not None}
        found: dict[str, Cost] = {}
        if not given.keys() >= {"alone", "engine", "frontend"}:
            record = read(FrontEndRecord, self.record, "benchmarks.frontends")
            found |= server_costs(record, self.record)
        if not given.keys() >= {"decode", "locked"}:
            found |= decode_costs(self.decoders)
        costs = Costs.model_validate(found | given)
        if costs.locked.ms > costs.decode.ms:
            raise UsageError(
                f"decoding takes {costs.decode.ms:g} ms (--decode-ms): it cannot hold the lock "
                f"for {costs.locked.ms:g} ms (--locked-ms)"
            )
        return costs


def check(measured: Measured, cores: int, seed: int) -> Check:
    """Simulate a run of `benchmarks.frontends`: its costs, its device, its callers."""
    source, nothing = "the run itself", Cost(ms=0, source="raw pixels")
    costs = Costs(
        alone=Cost(ms=measured.engine_ms, source=source),
        engine=Cost(ms=measured.engine_ms, source=source),
        frontend=Cost(ms=measured.frontend_ms, source=source),
        decode=nothing,
        locked=nothing,
    )
    speed, fixed_ms = FAKE_BATCH / BATCH_S, 1e3 * BATCH_S
    outcome = Simulation(
        Setup(
            cores=cores,
            frontends=measured.frontends,
            costs=costs,
            device=DeviceCurve(images_per_second=speed, batch=FAKE_BATCH, fixed_ms=fixed_ms),
            in_flight=measured.in_flight,
            images=measured.images_per_request,
            caller_ms=measured.caller_ms,
            seed=seed,
        )
    ).run()
    return Check(
        frontends=measured.frontends,
        images_per_request=measured.images_per_request,
        measured=measured.images_per_second,
        simulated=outcome.images_per_second,
        bound=outcome.bound,
    )


if __name__ == "__main__":
    start(Scaling)
