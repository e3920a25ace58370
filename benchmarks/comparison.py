"""What floor and server reached: each round, and the medians."""

from statistics import median

from pydantic import BaseModel, Field

from benchmarks.floor import Best, Floor
from benchmarks.records import Record
from benchmarks.server import LoadResult
from bundle.manifest import Precision

HEADER = (
    "load", "floor img/s", "server img/s", "ratio", "CPU ratio", "p50 ms", "p99 ms", "p50 / bare",
    "CPU ms beyond floor", "MiB",
)  # fmt: skip


class Pair(BaseModel):
    """The floor and, right after it, the server."""

    floor: Floor
    server: LoadResult

    @property
    def ratio(self) -> float:
        """Images per second of the server over those of the floor."""
        return self.server.images_per_second / self.floor.images_per_second

    @property
    def cpu_ratio(self) -> float:
        """CPU time per image of the floor over that of the server; neighbours hardly change it."""
        return self.floor.cpu_ms / self.server.cpu_ms


class Round(BaseModel):
    """Everything once."""

    lone: Floor = Field(description="one image at a time")
    pairs: dict[str, Pair] = Field(description="by load")


class Row(BaseModel):
    """Medians over the rounds under one load."""

    load: str
    floor_images_per_second: float
    images_per_second: float
    ratio: float = Field(description="median of the ratios, not ratio of the medians")
    cpu_ratio: float = Field(description="CPU time per image, floor over server")
    p50_ms: float
    p99_ms: float
    p50_over_bare: float = Field(description="p50 over bare decode and inference of one image")
    cpu_ms_beyond_floor: float = Field(description="per image")
    memory_mib: float

    def cells(self) -> list[str]:
        """Return the row of the table."""
        rates = f"{self.floor_images_per_second:.1f}", f"{self.images_per_second:.1f}"
        times = f"{self.p50_ms:.2f}", f"{self.p99_ms:.2f}", f"{self.p50_over_bare:.2f}"
        return [
            self.load, *rates, f"{self.ratio:.1%}", f"{self.cpu_ratio:.1%}", *times,
            f"{self.cpu_ms_beyond_floor:.3f}", f"{self.memory_mib:.0f}",
        ]  # fmt: skip


class ServerRecord(Record):
    """A run of this benchmark."""

    model: str
    digest: str
    images: str
    precision: Precision
    duration_s: float
    decoders: str = Field(description="what the floor decodes and resizes with")
    best: Best = Field(description="how the floor runs")
    rows: list[Row]
    rounds: list[Round]

    @property
    def floor(self) -> str:
        """How the floor works, in a sentence."""
        return (
            f"The floor decodes with {self.decoders}, and runs {self.best.busy} "
            f"(bare time of one image: {self.best.lone})."
        )


def summarize(load: str, rounds: list[Round]) -> Row:
    """Return the medians under one load."""
    pairs = [measured.pairs[load] for measured in rounds]
    lone = [measured.lone.batch_ms for measured in rounds]
    return Row(
        load=load,
        floor_images_per_second=median(pair.floor.images_per_second for pair in pairs),
        images_per_second=median(pair.server.images_per_second for pair in pairs),
        ratio=median(pair.ratio for pair in pairs),
        cpu_ratio=median(pair.cpu_ratio for pair in pairs),
        p50_ms=median(pair.server.p50_ms for pair in pairs),
        p99_ms=median(pair.server.p99_ms for pair in pairs),
        p50_over_bare=median(p.server.p50_ms / bare for p, bare in zip(pairs, lone, strict=True)),
        cpu_ms_beyond_floor=median(pair.server.cpu_ms - pair.floor.cpu_ms for pair in pairs),
        memory_mib=median(pair.server.memory_mib for pair in pairs),
    )
