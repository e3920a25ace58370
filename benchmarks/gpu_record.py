"""What a device did with one network in each precision, and the tables that show it."""

from collections.abc import Iterator

from pydantic import BaseModel, Field

from benchmarks.records import Record, markdown
from benchmarks.server import Load

BARE = ("precision", "batch", "img/s", "ms per batch")
SERVED = ("precision", "in flight", "img/s", "p50 ms", "p99 ms", "mean batch")
PARITY = ("precision", "largest difference", "allowed")


Title = str
Header = tuple[str, ...]
Rows = list[list[str]]


class Bare(BaseModel):
    """Batches of one size on the device, one after another, without decoding."""

    batch: int
    images_per_second: float


class Measured(BaseModel):
    """One precision."""

    precision: str
    difference: float = Field(description="largest, of a probability from its golden value")
    tolerance: float
    bare: list[Bare]
    served: dict[int, Load] = Field(description="by number of requests in flight")


class GpuRecord(Record):
    """A run of this benchmark."""

    device: str
    model: str
    digest: str
    measured: list[Measured]

    def tables(self) -> Iterator[tuple[Title, Header, Rows]]:
        """Return title, header and rows of each table."""
        bare = [[m.precision, *_bare_cells(b)] for m in self.measured for b in m.bare]
        served = [
            [m.precision, str(n), *_served_cells(s)]
            for m in self.measured
            for n, s in m.served.items()
        ]
        parity = [[m.precision, f"{m.difference:.2g}", f"{m.tolerance:.2g}"] for m in self.measured]
        yield f"{self.model} on {self.device}, bare", BARE, bare
        yield "Through the server", SERVED, served
        yield "Golden images", PARITY, parity

    def markdown(self) -> str:
        """Return the tables in Markdown."""
        return "\n".join(f"## {t}\n\n{markdown(h, r)}" for t, h, r in self.tables())


def _bare_cells(bare: Bare) -> list[str]:
    rate = bare.images_per_second
    return [str(bare.batch), f"{rate:.1f}", f"{bare.batch / rate * 1e3:.2f}"]


def _served_cells(load: Load) -> list[str]:
    rates = [f"{load.images_per_second:.1f}", f"{load.p50_ms:.2f}", f"{load.p99_ms:.2f}"]
    return [*rates, f"{load.batch_images:.1f}"]
