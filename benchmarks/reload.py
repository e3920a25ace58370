"""`python -m benchmarks.reload`: what a model's callers notice while another one is loaded."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count, takewhile
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt
from rich.console import Console

from benchmarks.command import RESULTS, Benchmark, configured, start
from benchmarks.records import Record, circumstances, markdown
from benchmarks.server import Server, serving
from bundle.store import Bundle
from cli.tables import show_rows
from serving.backends.settings import Runtime
from serving.threads import in_thread

if TYPE_CHECKING:
    from benchmarks.load.loops import Sample, Target

PATIENCE_S, SLICE_S = 120.0, 1.0
HEADER = ("load", "p50 ms", "p99 ms", "p99 / before", "requests", "failed")
# While another model is loaded, the p99 may be this many times what it was, or so much more.
MOST_TIMES, MOST_MS = 1.5, 20.0


class Span(BaseModel):
    """The requests of some time."""

    seconds: float
    requests: int
    failed: int
    p50_ms: float
    p99_ms: float


class Round(BaseModel):
    """Before a load, while it lasts, and after it and the unload."""

    before: Span
    during: Span
    after: Span


class ReloadRecord(Record):
    """A run of this benchmark."""

    model: str
    other: str
    runtime: str
    rate: float = Field(description="requests of one image per second, at random moments")
    rounds: list[Round]

    def cells(self) -> list[list[str]]:
        """Return the rows of the table: medians of the rounds, and the worst one."""
        rows = []
        for name in ("before", "during", "after"):
            spans: list[Span] = [getattr(one, name) for one in self.rounds]
            ratios = [s.p99_ms / r.before.p99_ms for s, r in zip(spans, self.rounds, strict=True)]
            each = ", ".join(f"{span.p99_ms:.1f}" for span in spans)
            rows.append(
                [
                    name,
                    f"{median(span.p50_ms for span in spans):.1f}",
                    f"{median(span.p99_ms for span in spans):.1f} ({each})",
                    f"{median(ratios):.2f}",
                    str(sum(span.requests for span in spans)),
                    str(sum(span.failed for span in spans)),
                ]
            )
        return rows

    def verdict(self) -> str:
        """Return what the load took, and whether it took too much."""
        p99_ms = [(one.before.p99_ms, one.during.p99_ms) for one in self.rounds]
        kept = [now <= max(MOST_TIMES * then, then + MOST_MS) for then, now in p99_ms]
        seconds = median(one.during.seconds for one in self.rounds)
        return (
            f"Loading {self.other} took {seconds:.0f} s beside {self.rate:.0f} requests a second. "
            f"The p99 stayed within {MOST_TIMES} times what it was, or {MOST_MS:g} ms above, in "
            f"{sum(kept)} of {len(kept)} rounds.\n"
        )


class Reload(Benchmark):
    """Measure the latency of a model while another one is loaded beside it."""

    model_config = configured("benchmarks.reload")

    model: Path = Field(
        Path("build/benchmarks/resnext14_8x4d_224/1"), description="bundle directory that serves"
    )
    images: str = Field("build/benchmarks/photos", description="file, folder or glob")
    other: Path = Field(
        Path("build/benchmarks/resnext152_64x4d/1"), description="bundle directory that is loaded"
    )
    runtime: Runtime = Field("onnxruntime", description="runtime of both models")
    share: PositiveFloat = Field(0.5, description="load, as a share of the capacity")
    duration_s: PositiveFloat = Field(15.0, description="time before and after, in seconds")
    rounds: PositiveInt = Field(3, description="how often it is loaded")
    buckets: str = Field("", description="batch sizes of both models; empty: those of the bundles")
    output: Path = Field(RESULTS, description="folder for reload-<model>-<runtime>.json and .md")

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        record = self._measure()
        table = record.cells()
        show_rows(
            HEADER,
            table,
            title=f"{record.model} while {record.other} is loaded in {record.runtime}",
        )
        print(record.verdict())
        name = f"reload-{record.model.replace('/', '-')}-{record.runtime}"
        record.write(self.output, name, f"{markdown(HEADER, table)}\n{record.verdict()}")

    def _measure(self) -> ReloadRecord:
        # Imported here: by now gRPC's environment is set.
        from benchmarks.load.loops import Target
        from benchmarks.load.runs import Closed, measure
        from benchmarks.load.wire import Wire, read_requests

        bundle, other = Bundle.open(self.model), Bundle.open(self.other)
        started = circumstances("benchmarks.reload")
        requests = read_requests(self.images, model=bundle.manifest.name)
        status = Console(stderr=True).status("Loading a model beside another")
        with status, self._serving(other) as server, Wire(server.address) as wire:
            options = {"seconds": self.duration_s / 3, "warm_up_s": 1.0, "timeout_s": PATIENCE_S}
            [capacity] = measure(wire, [Closed(8)], requests, **options)
            rate = self.share * capacity.images_per_second
            target = Target(wire, requests, timeout_s=PATIENCE_S)
            return ReloadRecord(
                **started.model_dump(),
                model=f"{bundle.manifest.name}/{bundle.manifest.version}",
                other=f"{other.manifest.name}/{other.manifest.version}",
                runtime=self.runtime,
                rate=rate,
                rounds=[self._round(server, target, rate, other) for _ in range(self.rounds)],
            )

    @contextmanager
    def _serving(self, other: Bundle) -> Iterator[Server]:
        with TemporaryDirectory() as folder:
            manifest = other.manifest
            (Path(folder) / manifest.name).mkdir()
            (Path(folder) / manifest.name / manifest.version).symlink_to(self.other.absolute())
            flags = ["--repository", folder, "--model-control", "explicit"]
            flags += ["--runtime", self.runtime]
            flags += ["--buckets", self.buckets] if self.buckets else []
            with serving(self.model, *flags) as server:
                yield server

    def _round(self, server: Server, target: "Target", rate: float, other: Bundle) -> Round:
        from clients.client import ClassifierClient

        slices = math.ceil(self.duration_s / SLICE_S)
        before = _span(target, rate, iter(range(slices)))
        with ClassifierClient(server.address) as client:
            loading = in_thread(partial(client.load_model, other.manifest.name), "load")
            during = _span(target, rate, takewhile(lambda _: not loading.done(), count()))
            loading.result()
            client.unload_model(other.manifest.name)
        return Round(before=before, during=during, after=_span(target, rate, iter(range(slices))))


def _span(target: "Target", rate: float, slices: Iterator[object]) -> Span:
    """Send requests, slice after slice, each with the same pauses between them."""
    import grpc

    from benchmarks.load.report import percentiles
    from benchmarks.load.runs import Open

    samples: list[Sample] = []
    taken = 0
    for _ in slices:
        samples += Open(rate)(target, SLICE_S)
        taken += 1
    latencies = [(s.done - s.due) * 1e3 for s in samples if s.code is grpc.StatusCode.OK]
    found = percentiles(latencies)
    return Span(
        seconds=taken * SLICE_S,
        requests=len(samples),
        failed=len(samples) - len(latencies),
        p50_ms=found["p50"],
        p99_ms=found["p99"],
    )


if __name__ == "__main__":
    start(Reload)
