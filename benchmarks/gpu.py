"""`python -m benchmarks.gpu`: one network on a device in each precision, bare and served."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, PositiveFloat, PositiveInt
from rich.console import Console

from benchmarks.command import RESULTS, Benchmark, configured, start
from benchmarks.records import Record, circumstances, markdown
from benchmarks.server import LoadResult, Server, serving
from benchmarks.variants import AT_ONCE, UNMERGED, USUAL, Variant, VariantTimes, measure
from benchmarks.variants import HEADER as TRIED
from bundle.golden import GoldenSet, prove_pixels, prove_probabilities
from bundle.manifest import ModelFile, Precision
from bundle.store import Bundle
from cli.program import FAILED, fail
from cli.tables import show_rows
from images.transform import Pixels
from serving.backends.backend import Backend, predict
from serving.backends.devices import Device
from serving.backends.hardware import describe, missing
from serving.backends.ort.library import onnxruntime
from serving.backends.runtimes import load
from serving.errors import ProcessLostError

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
    """One precision; what came after the first failure is missing."""

    precision: Precision
    tolerance: float
    difference: float | None = Field(
        None, description="largest, of a probability from its golden value; null if not finite"
    )
    bare: list[Bare] = []
    served: dict[int, LoadResult] = Field({}, description="by number of requests in flight")
    variants: list[VariantTimes] = []
    failures: list[str] = []


class GpuRecord(Record):
    """A run of this benchmark."""

    device: str
    model: str
    digest: str
    measured: list[Measured] = Field([], description="one after another")

    @property
    def failures(self) -> list[str]:
        """What failed, in sentences."""
        tried = [variant for m in self.measured for variant in m.variants if variant.failed]
        missed = [f"{m.precision}: {failure}" for m in self.measured for failure in m.failures]
        return missed + [f"{v.precision}: variant {v.variant} failed" for v in tried]

    def tables(self) -> Iterator[tuple[Title, Header, Rows]]:
        """Return title, header and rows of each table that has a row."""
        bare = [[m.precision, *_bare_cells(b)] for m in self.measured for b in m.bare]
        served = [
            [m.precision, str(n), *_served_cells(s)]
            for m in self.measured
            for n, s in m.served.items()
        ]
        tried = [row for m in self.measured for variant in m.variants for row in variant.rows()]
        tables = [
            (f"{self.model} on {self.device}, bare", BARE, bare),
            ("Through the server", SERVED, served),
            ("Golden images", PARITY, [_parity_cells(m) for m in self.measured]),
            ("Variants, each a session of its own", TRIED, tried),
        ]
        yield from (table for table in tables if table[2])

    def markdown(self) -> str:
        """Return tables and failures in Markdown."""
        pages = [
            f"## {title}\n\n{markdown(header, rows, _text_columns(header))}"
            for title, header, rows in self.tables()
        ]
        lines = [f"- {' '.join(failure.split())}\n" for failure in self.failures]
        return "\n".join([*pages, *(["## Failures\n\n" + "".join(lines)] if lines else [])])


def _text_columns(header: Header) -> int:
    return TRIED.index("batch") if header is TRIED else 1


def _bare_cells(bare: Bare) -> list[str]:
    rate = bare.images_per_second
    return [str(bare.batch), f"{rate:.1f}", f"{bare.batch / rate * 1e3:.2f}"]


def _served_cells(load: LoadResult) -> list[str]:
    rates = [f"{load.images_per_second:.1f}", f"{load.p50_ms:.2f}", f"{load.p99_ms:.2f}"]
    return [*rates, f"{load.batch_images:.1f}"]


def _parity_cells(measured: Measured) -> list[str]:
    difference = "none" if measured.difference is None else f"{measured.difference:.2g}"
    return [measured.precision, difference, f"{measured.tolerance:.2g}"]


class GpuBench(Benchmark):
    """Measure a bundle's ONNX files on a GPU, and write the tables.

    What fails is recorded, and the rest is measured; the exit code is 1 then.
    """

    model_config = configured("benchmarks.gpu")

    model: Path = Field(Path("build/gpu/resnext152_64x4d/1"), description="bundle directory")
    images: str = Field("build/gpu/photos", description="file, folder or glob")
    device: str = Field("cuda", description="one device, as `python -m serving --device` takes it")
    precisions: list[Precision] | None = Field(
        None, description="of the files to measure, comma-separated; unset: all, but for int8"
    )
    batches: list[PositiveInt] | None = Field(
        None, description="sizes of bare batches, comma-separated; unset: the bundle's"
    )
    concurrency: list[PositiveInt] = Field(
        [1, 32, 128], description="requests in flight; [] to measure without a server"
    )
    variants: list[str] = Field(
        [],
        description="other ways to run each file, comma-separated, each in a process of its own: "
        f"options of the provider joined with +, as prefer_nhwc=0+fuse_conv_bias=1; {UNMERGED}, "
        f"{AT_ONCE}; {USUAL} to compare with",
    )
    variant_timeout_s: PositiveFloat = Field(120.0, description="longest time of a variant")
    duration_s: PositiveFloat = Field(5.0, description="length of each measurement, in seconds")
    name: str = Field("gpu", description="of the record")
    output: Path = Field(RESULTS, description="folder for <name>.md and <name>.json")

    def run(self) -> int:
        """Measure, write the record after every step, and print the tables."""
        device = Device.parse(self.device)
        for text in self.variants:
            Variant.parse(text)
        if reason := missing("onnxruntime", device):
            return fail(f"{device} cannot be measured here: {reason}", FAILED)
        bundle = Bundle.open(self.model)
        golden, pixels = prove_pixels(bundle)
        record = self._record(bundle, device)
        with Console(stderr=True).status("Measuring"):
            for file in self._files(bundle):
                measured = Measured(precision=file.precision, tolerance=file.tolerance)
                record.measured.append(measured)
                # What runs in this process comes last: a CUDA error may end it.
                for step in (
                    *(partial(self._variant, file, text) for text in self.variants),
                    partial(self._served, file, device),
                    partial(self._bare, bundle, file, device, golden, pixels),
                ):
                    _recorded(step, measured)
                    record.write(self.output, self.name, record.markdown())
        for title, header, rows in record.tables():
            show_rows(header, rows, title=title, text_columns=_text_columns(header))
        return fail("\n".join(record.failures), FAILED) if record.failures else 0

    def _record(self, bundle: Bundle, device: Device) -> GpuRecord:
        # Both packages may be installed; only one of them is what Python imports.
        runtimes = sorted({*packages_distributions()["onnxruntime"]})
        started = circumstances("benchmarks.gpu", (*LIBRARIES, *runtimes))
        started.versions["onnxruntime as imported"] = onnxruntime.__version__
        return GpuRecord(
            **started.model_dump(),
            device=describe(device),
            model=f"{bundle.manifest.name}/{bundle.manifest.version}",
            digest=bundle.digest,
        )

    def _files(self, bundle: Bundle) -> list[ModelFile]:
        held = [file for file in bundle.manifest.files if file.format == "onnx"]
        if self.precisions:
            return [bundle.file("onnx", precision) for precision in self.precisions]
        return [file for file in held if file.precision in ("fp32", "fp16")]

    def _bare(
        self,
        bundle: Bundle,
        file: ModelFile,
        device: Device,
        golden: GoldenSet,
        pixels: Pixels,
        measured: Measured,
    ) -> None:
        batches = self.batches or file.buckets
        [backend] = load(bundle.path, bundle.manifest, file, device=device, buckets=batches)
        try:
            answers = predict(backend, batches, pixels)
            measured.difference = _difference(answers, golden)
            measured.bare += [self._rate(backend, batch) for batch in batches]
            # Last: a file that misses its tolerance is measured, too.
            prove_probabilities(bundle, file, golden, pixels, lambda _: answers, "onnxruntime")
        except ProcessLostError:
            raise  # to close it would abort the process, with all that is still to be measured
        except BaseException:
            backend.close()
            raise
        backend.close()

    def _rate(self, backend: Backend, batch: int) -> Bare:
        buffer = backend.allocate(batch)
        backend.run(buffer, batch)
        batches, started = 0, time.monotonic()
        while (seconds := time.monotonic() - started) < self.duration_s or not batches:
            backend.run(buffer, batch)
            batches += 1
        return Bare(batch=batch, images_per_second=batches * batch / seconds)

    def _variant(self, file: ModelFile, text: str, measured: Measured) -> None:
        batches: Sequence[int] = self.batches or file.buckets
        flags: list[str | Path] = ["--model", self.model, "--device", self.device]
        flags += ["--batches", ",".join(map(str, batches)), "--duration-s", str(self.duration_s)]
        times = measure(flags, file.precision, text, self.variant_timeout_s)
        measured.variants.append(times)

    def _served(self, file: ModelFile, device: Device, measured: Measured) -> None:
        if not self.concurrency:
            return
        flags = ["--device", str(device), "--precision", file.precision]
        with serving(self.model, *flags) as server:
            for n in self.concurrency:
                measured.served[n] = self._load(server, n)

    def _load(self, server: Server, concurrency: int) -> LoadResult:
        return server.load(self.images, self.duration_s, "--concurrency", str(concurrency))


def _recorded(step: "partial[None]", measured: Measured) -> None:
    """Run a step; what the device, the bundle or the server fails with is a finding."""
    try:
        step(measured)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base
        measured.failures.append(str(error) or type(error).__name__)


def _difference(answers: NDArray[np.float32], golden: GoldenSet) -> float | None:
    largest = float(np.abs(answers - golden.probabilities()).max())
    return largest if np.isfinite(largest) else None


if __name__ == "__main__":
    start(GpuBench)
