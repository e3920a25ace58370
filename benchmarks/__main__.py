"""`python -m benchmarks`: a server against the bare loop on the same machine."""

import subprocess
import sys
from pathlib import Path
from statistics import median

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict
from rich.console import Console

from benchmarks.floor import FLOORS, Floor
from benchmarks.records import RESULTS, Record, circumstances, markdown, show
from benchmarks.server import Load, Server, serving
from export.contract.bundle import Bundle

HEADER = (
    "load", "floor img/s", "server img/s", "ratio", "p50 ms", "p99 ms", "p50 / bare",
    "CPU ms beyond floor",
)  # fmt: skip


class Pair(BaseModel):
    """The floor and, right after it, the server."""

    floor: Floor
    server: Load

    @property
    def ratio(self) -> float:
        """Images per second of the server over those of the floor."""
        return self.server.images_per_second / self.floor.images_per_second


class Round(BaseModel):
    """Everything once."""

    lone: Floor = Field(description="one instance, one image at a time")
    pairs: dict[int, Pair] = Field(description="by number of requests in flight")


class Row(BaseModel):
    """Medians over the rounds for so many requests in flight."""

    concurrency: int
    floor_images_per_second: float
    images_per_second: float
    ratio: float = Field(description="median of the ratios, not ratio of the medians")
    p50_ms: float
    p99_ms: float
    p50_over_bare: float = Field(description="p50 over bare decode and inference of one image")
    cpu_ms_beyond_floor: float = Field(description="per image")

    def cells(self) -> list[str]:
        """Return the row of the table."""
        rates = f"{self.floor_images_per_second:.1f}", f"{self.images_per_second:.1f}"
        times = f"{self.p50_ms:.2f}", f"{self.p99_ms:.2f}", f"{self.p50_over_bare:.2f}"
        return [
            f"{self.concurrency} in flight", *rates, f"{self.ratio:.1%}", *times,
            f"{self.cpu_ms_beyond_floor:.3f}",
        ]  # fmt: skip


class ServerRecord(Record):
    """A run of this benchmark."""

    model: str
    digest: str
    images: str
    duration_s: float
    buckets: list[Floor] = Field(description="the trial that chose the floor's batch size")
    rows: list[Row]
    rounds: list[Round]


class Bench(BaseSettings):
    """Compare a server with the bare loop: same machine, model, images, instances and threads."""

    model_config = SettingsConfigDict(
        env_prefix="BENCH_", cli_prog_name="python -m benchmarks", cli_kebab_case=True
    )

    model: Path = Field(Path("models/fashion_resnext/1"), description="bundle directory")
    images: str = Field("examples/images", description="file, folder or glob; sent in turn")
    concurrency: list[PositiveInt] = Field([1, 8, 32], description="requests in flight, by commas")
    rounds: PositiveInt = Field(5, description="how often floor and server have their turns")
    duration_s: PositiveFloat = Field(5.0, description="length of each turn, in seconds")
    output: Path = Field(RESULTS, description="folder for <model>.json and <model>.md")

    def cli_cmd(self) -> None:
        """Measure, print the table, and write the record."""
        record = self._measure()
        show(f"{record.model}, {record.images}", HEADER, table := [r.cells() for r in record.rows])
        record.write(self.output, record.model.replace("/", "-"), markdown(HEADER, table))

    def _measure(self) -> ServerRecord:
        bundle = Bundle.open(self.model)
        started = circumstances("benchmarks")
        status = Console(stderr=True).status("Choosing the floor's batch size")
        with status, serving(self.model) as server:
            trial = self._floor(*sorted({b for f in bundle.manifest.files for b in f.buckets}))
            best = max(trial, key=lambda floor: floor.images_per_second).bucket
            rounds = []
            for number in range(self.rounds):
                status.update(f"Round {number + 1} of {self.rounds}")
                rounds.append(self._round(server, best))
        return ServerRecord(
            **started.model_dump(),
            model=f"{bundle.manifest.name}/{bundle.manifest.version}",
            digest=bundle.digest,
            images=self.images,
            duration_s=self.duration_s,
            buckets=trial,
            rows=[_row(concurrency, rounds) for concurrency in self.concurrency],
            rounds=rounds,
        )

    def _round(self, server: Server, bucket: int) -> Round:
        [lone] = self._floor(1, instances=1)
        return Round(lone=lone, pairs={c: self._pair(server, c, bucket) for c in self.concurrency})

    def _pair(self, server: Server, concurrency: int, bucket: int) -> Pair:
        [floor] = self._floor(bucket)
        return Pair(floor=floor, server=server.load(concurrency, self.images, self.duration_s))

    def _floor(self, *buckets: int, instances: int | None = None) -> list[Floor]:
        command = [sys.executable, "-m", "benchmarks.floor", "--model", str(self.model)]
        command += ["--images", self.images, "--duration-s", str(self.duration_s)]
        command += ["--buckets", ",".join(map(str, buckets))]
        command += ["--instances", str(instances)] if instances else []
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)  # noqa: S603
        return FLOORS.validate_json(done.stdout)


def _row(concurrency: int, rounds: list[Round]) -> Row:
    pairs = [measured.pairs[concurrency] for measured in rounds]
    lone = median(measured.lone.batch_ms for measured in rounds)
    p50 = median(pair.server.p50_ms for pair in pairs)
    return Row(
        concurrency=concurrency,
        floor_images_per_second=median(pair.floor.images_per_second for pair in pairs),
        images_per_second=median(pair.server.images_per_second for pair in pairs),
        ratio=median(pair.ratio for pair in pairs),
        p50_ms=p50,
        p99_ms=median(pair.server.p99_ms for pair in pairs),
        p50_over_bare=p50 / lone,
        cpu_ms_beyond_floor=median(pair.server.cpu_ms - pair.floor.cpu_ms for pair in pairs),
    )


if __name__ == "__main__":
    CliApp.run(Bench)
