"""`python -m benchmarks.precisions`: a model in each runtime and precision, by turns."""

from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt
from rich.console import Console

from benchmarks.command import RESULTS, Benchmark, configured, start
from benchmarks.comparison import Pair
from benchmarks.floor import BareLoop, Best, bare_loop
from benchmarks.records import Record, circumstances, markdown
from benchmarks.server import Server, serving
from benchmarks.turns import by_turns
from bundle.manifest import Precision
from bundle.store import Bundle
from cli.program import UsageError
from cli.tables import show_rows
from export.parity_record import read_parity
from serving.backends.devices import Device
from serving.backends.hardware import missing
from serving.backends.settings import Runtime

HEADER = (
    "runtime", "top-1", "img/s", "ratio", "CPU ms", "CPU ratio", "floor img/s", "of the floor",
    "p50 ms", "MiB",
)  # fmt: skip
LIBRARIES = ("grpcio", "numpy", "onnxruntime", "openvino", "simplejpeg", "cykooz.resizer")


class Variant(NamedTuple):
    """How a server runs."""

    runtime: Runtime
    precision: Precision

    def __str__(self) -> str:
        return f"{self.runtime} {self.precision}"


VARIANTS = (
    Variant("onnxruntime", "fp32"),
    Variant("openvino", "fp32"),
    Variant("openvino", "bf16"),
    Variant("openvino", "int8"),
)


class Measured(BaseModel):
    """One variant: what it answered in each round, right after the floor of its precision."""

    name: str
    precision: Precision
    top1: float | None = Field(description="accuracy of this precision; null if it is unknown")
    pairs: list[Pair]

    @property
    def images_per_second(self) -> float:
        """Of the server; the median over the rounds."""
        return median(pair.server.images_per_second for pair in self.pairs)

    def ratio_to(self, other: "Measured") -> float:
        """Return how many times as fast as another its server is; the median over the rounds."""
        both = zip(self.pairs, other.pairs, strict=True)
        return median(a.server.images_per_second / b.server.images_per_second for a, b in both)


class PrecisionRecord(Record):
    """A run of this benchmark; ratios are to the first variant."""

    model: str
    digest: str
    images: str
    in_flight: int
    duration_s: float
    best: dict[Precision, Best] = Field(description="how the floor of each precision runs")
    measured: list[Measured]

    def cells(self) -> list[list[str]]:
        """Return a row per variant, of medians over the rounds."""
        return [_cells(measured, self.measured[0]) for measured in self.measured]


def _cells(measured: Measured, first: Measured) -> list[str]:
    pairs = zip(measured.pairs, first.pairs, strict=True)
    both = [(pair.server, other.server) for pair, other in pairs]
    cpu_ratio = median(other.cpu_ms / own.cpu_ms for own, other in both)
    return [
        measured.name,
        "unknown" if measured.top1 is None else f"{measured.top1:.2%}",
        f"{measured.images_per_second:.1f}",
        f"{measured.ratio_to(first):.2f}",
        f"{median(own.cpu_ms for own, _ in both):.2f}",
        f"{cpu_ratio:.2f}",
        f"{median(pair.floor.images_per_second for pair in measured.pairs):.1f}",
        f"{median(pair.ratio for pair in measured.pairs):.1%}",
        f"{median(own.p50_ms for own, _ in both):.1f}",
        f"{median(own.memory_mib for own, _ in both):.0f}",
    ]


class Precisions(Benchmark):
    """Compare what a bundle holds and this machine runs: each a server, after its floor."""

    model_config = configured("benchmarks.precisions")

    model: Path = Field(
        Path("build/benchmarks/resnext14_8x4d_224/1"), description="bundle directory"
    )
    images: str = Field("build/benchmarks/photos", description="file, folder or glob")
    in_flight: PositiveInt = Field(32, description="requests in flight")
    batches: list[PositiveInt] = Field(
        [1, 2, 4, 8], description="batch sizes that the floors try, comma-separated"
    )
    rounds: PositiveInt = Field(4, description="how often all take turns")
    duration_s: PositiveFloat = Field(4.0, description="length of each turn, in seconds")
    output: Path = Field(RESULTS, description="folder for precisions-<model>.json and .md")

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        record = self._measure()
        table = record.cells()
        show_rows(HEADER, table, title=f"{record.model}, {record.images}")
        name = f"precisions-{record.model.replace('/', '-')}"
        record.write(self.output, name, markdown(HEADER, table))

    def _measure(self) -> PrecisionRecord:
        bundle, started = Bundle.open(self.model), circumstances("benchmarks.precisions", LIBRARIES)
        variants = [variant for variant in VARIANTS if runs_here(bundle, variant)]
        if not variants:
            raise UsageError(f"{bundle.path}: nothing of it runs here")
        top1 = _accuracies(bundle)
        with ExitStack() as stack:
            floors = {
                precision: stack.enter_context(bare_loop(self.model, self.images, precision))
                for precision in dict.fromkeys(variant.precision for variant in variants)
            }
            with Console(stderr=True).status("Choosing the floors' ways"):
                best = {p: f.best(p, self.batches, self.duration_s) for p, f in floors.items()}
            servers = {variant: stack.enter_context(self._server(variant)) for variant in variants}
            turns = {
                str(v): partial(self._turn, servers[v], floors[v.precision], best[v.precision])
                for v in variants
            }
            pairs = by_turns(turns, self.rounds)
        return PrecisionRecord(
            **started.model_dump(),
            model=f"{bundle.manifest.name}/{bundle.manifest.version}",
            digest=bundle.digest,
            images=self.images,
            in_flight=self.in_flight,
            duration_s=self.duration_s,
            best=best,
            measured=[
                Measured(
                    name=str(v), precision=v.precision, top1=top1[v.precision], pairs=pairs[str(v)]
                )
                for v in variants
            ],
        )

    def _server(self, variant: Variant) -> AbstractContextManager[Server]:
        flags = "--runtime", variant.runtime, "--precision", variant.precision
        return serving(self.model, *flags)

    def _turn(self, server: Server, floor: BareLoop, best: Best) -> Pair:
        bare = floor.measure(best.busy, self.duration_s)
        load = "--concurrency", str(self.in_flight)
        return Pair(floor=bare, server=server.load(self.images, self.duration_s, *load))


def runs_here(bundle: Bundle, variant: Variant) -> bool:
    """Return whether the bundle holds it and this machine can run it; if not, say why."""
    held = {file.precision for file in bundle.manifest.files if file.format == "onnx"}
    if variant.precision in held:
        reason = missing(variant.runtime, Device("cpu"), precision=variant.precision)
    else:
        reason = f"{bundle.path} does not hold it"
    if reason:
        Console(stderr=True).print(f"left out: {variant}: {reason}")
    return not reason


def _accuracies(bundle: Bundle) -> dict[Precision, float | None]:
    """Return the top-1 accuracy of each precision of the ONNX files, as the export measured it.

    Of several runtimes the first counts, which is the one that serves it.
    """
    parity = read_parity(bundle.path)
    return {
        file.precision: file.scores.top1_correct / parity.images if file.scores else None
        for file in reversed(parity.files)
        if file.format == "onnx"
    }


if __name__ == "__main__":
    start(Precisions)
