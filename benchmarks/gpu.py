"""`python -m benchmarks.gpu`: one network on a device in each precision, bare and served."""

import time
from collections.abc import Iterator
from functools import partial
from importlib.metadata import packages_distributions
from pathlib import Path

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt
from rich.console import Console

from benchmarks.command import Benchmark, configured, start
from benchmarks.records import Record, circumstances, markdown
from benchmarks.server import LoadResult, Server, serving
from bundle.golden import prove_pixels, prove_probabilities
from bundle.manifest import ModelFile
from bundle.store import Bundle
from cli.program import FAILED, fail
from cli.tables import show_rows
from serving.backends.backend import Backend, predict
from serving.backends.devices import Device
from serving.backends.hardware import describe, missing
from serving.backends.runtimes import load

LIBRARIES = ("grpcio", "numpy")
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
    served: dict[int, LoadResult] = Field(description="by number of requests in flight")


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


def _served_cells(load: LoadResult) -> list[str]:
    rates = [f"{load.images_per_second:.1f}", f"{load.p50_ms:.2f}", f"{load.p99_ms:.2f}"]
    return [*rates, f"{load.batch_images:.1f}"]


class GpuBench(Benchmark):
    """Measure a bundle's ONNX files on a GPU, and write the tables."""

    model_config = configured("benchmarks.gpu")

    model: Path = Field(Path("build/benchmarks/resnext152_64x4d/1"), description="bundle directory")
    images: str = Field("build/benchmarks/photos", description="file, folder or glob")
    device: str = Field("cuda", description="one device, as `python -m serving --device` takes it")
    concurrency: list[PositiveInt] = Field([1, 32, 128], description="requests in flight")
    duration_s: PositiveFloat = Field(5.0, description="length of each measurement, in seconds")
    output: Path = Field(Path("benchmarks"), description="folder for gpu.md and gpu.json")

    def run(self) -> int:
        """Measure, print the tables, and write the record."""
        device = Device.parse(self.device)
        if reason := missing("onnxruntime", device):
            return fail(f"{device} cannot be measured here: {reason}", FAILED)
        bundle = Bundle.open(self.model)
        [runtime] = packages_distributions()["onnxruntime"]
        started = circumstances("benchmarks.gpu", (*LIBRARIES, runtime))
        files = [file for file in bundle.manifest.files if file.format == "onnx"]
        with Console(stderr=True).status("Measuring"):
            record = GpuRecord(
                **started.model_dump(),
                device=describe(device),
                model=f"{bundle.manifest.name}/{bundle.manifest.version}",
                digest=bundle.digest,
                measured=[self._measure(bundle, file, device) for file in files],
            )
        for title, header, rows in record.tables():
            show_rows(header, rows, title=title)
        record.write(self.output, "gpu", record.markdown())
        return 0

    def _measure(self, bundle: Bundle, file: ModelFile, device: Device) -> Measured:
        [backend] = load(bundle.path, bundle.manifest, file, device=device)
        golden, pixels = prove_pixels(bundle)
        difference = prove_probabilities(
            bundle, file, golden, pixels, partial(predict, backend, file.buckets)
        )
        bare = [self._bare(backend, bucket) for bucket in file.buckets]
        backend.close()
        return Measured(
            precision=file.precision,
            difference=difference,
            tolerance=file.tolerance,
            bare=bare,
            served=self._served(file, device),
        )

    def _bare(self, backend: Backend, batch: int) -> Bare:
        buffer = backend.allocate(batch)
        backend.run(buffer, batch)
        batches, started = 0, time.monotonic()
        while (seconds := time.monotonic() - started) < self.duration_s:
            backend.run(buffer, batch)
            batches += 1
        return Bare(batch=batch, images_per_second=batches * batch / seconds)

    def _served(self, file: ModelFile, device: Device) -> dict[int, LoadResult]:
        flags = ["--device", str(device), "--precision", file.precision]
        with serving(self.model, *flags) as server:
            return {n: self._load(server, n) for n in self.concurrency}

    def _load(self, server: Server, concurrency: int) -> LoadResult:
        return server.load(self.images, self.duration_s, "--concurrency", str(concurrency))


if __name__ == "__main__":
    start(GpuBench)
