"""`python -m benchmarks.lite`: a server on MindSpore Lite against the bare loop of the library."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt
from rich.console import Console

from benchmarks.command import RESULTS, Benchmark, configured, start
from benchmarks.records import Record, circumstances, markdown
from benchmarks.server import Server, serving
from bundle.store import Bundle
from cli.cores import usable_cores
from cli.tables import show_rows
from serving.backends.devices import Device
from serving.backends.lite.backend import LiteBackend
from serving.backends.runtimes import load
from serving.backends.settings import RuntimeSettings

LOOP = Path(__file__).with_name("lite_loop.py")
BUILT = Path("build/lite/build/benchmarks")
HEADER = ("what", "median", "best", "worst")


class Round(BaseModel):
    """Images per second of the bare loop and, right after it, of the server."""

    bare: float
    server: float


class LiteRecord(Record):
    """A run of this benchmark."""

    model: str
    digest: str
    batch: int
    instances: int
    in_flight: int
    duration_s: float
    rounds: list[Round]
    handover_model: str
    handover_batch: int
    handover_ms: list[float] = Field(description="of each batch, sorted")

    def rows(self) -> list[list[str]]:
        """Return the table's rows."""
        ratios = sorted(r.server / r.bare for r in self.rounds)
        p90 = quantiles(self.handover_ms, n=10)[-1]
        return [
            _row("bare loop, img/s", [r.bare for r in self.rounds]),
            _row("server, img/s", [r.server for r in self.rounds]),
            ["server / bare", f"{median(ratios):.1%}", f"{ratios[-1]:.1%}", f"{ratios[0]:.1%}"],
            [
                f"hand-over of a batch of {self.handover_batch}, ms",
                f"{median(self.handover_ms):.3f}",
                f"{self.handover_ms[0]:.3f}",
                f"{p90:.3f} (90th percentile)",
            ],
        ]


def _row(name: str, rates: list[float]) -> list[str]:
    return [name, f"{median(rates):.3f}", f"{max(rates):.3f}", f"{min(rates):.3f}"]


class LiteBench(Benchmark):
    """Compare a server with the bare loop, by turns: same model, batch, instances and threads."""

    model_config = configured("benchmarks.lite")

    model: Path = Field(BUILT / "resnext152_64x4d/1", description="bundle with a mindir-lite file")
    images: str = Field(
        "build/benchmarks/photos", description="file, folder or glob; for the server"
    )
    handover_model: Path = Field(
        BUILT / "resnext14_8x4d_224/1", description="bundle whose batches are handed over"
    )
    handover_batches: PositiveInt = Field(50, description="number of those batches")
    lite_python: Path = Field(Path(".venv-lite/bin/python"), description="has mindspore_lite")
    # On CPU one image at a time is the fastest: 0.57 s, in a batch of 4 0.65 s each.
    batch: PositiveInt = Field(
        1, description="size of the bare loop's batches, the server's largest"
    )
    rounds: PositiveInt = Field(3, description="how often both take turns")
    duration_s: PositiveFloat = Field(30.0, description="length of each turn, in seconds")
    output: Path = Field(RESULTS, description="folder for lite.json and lite.md")

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        bundle, started = Bundle.open(self.model), circumstances("benchmarks.lite")
        instances = usable_cores().usable
        in_flight = 2 * instances * self.batch
        with Console(stderr=True).status("Measuring"):
            record = LiteRecord(
                **started.model_dump(),
                model=f"{bundle.manifest.name}/{bundle.manifest.version}",
                digest=bundle.digest,
                batch=self.batch,
                instances=instances,
                in_flight=in_flight,
                duration_s=self.duration_s,
                rounds=self._rounds(bundle, instances, in_flight),
                handover_model=str(self.handover_model),
                handover_batch=32,
                handover_ms=sorted(self._handover(Bundle.open(self.handover_model), 32)),
            )
        show_rows(HEADER, record.rows(), title=f"MindSpore Lite, {record.model}")
        record.write(self.output, "lite", markdown(HEADER, record.rows()))

    def _rounds(self, bundle: Bundle, instances: int, in_flight: int) -> list[Round]:
        buckets = [b for b in bundle.file("mindir-lite", "fp32").buckets if b <= self.batch]
        flags = ["--runtime", "mindspore-lite", "--lite-python", str(self.lite_python)]
        flags += ["--buckets", ",".join(map(str, buckets)), "--instances", str(instances)]
        with ExitStack() as stack:
            loops = [stack.enter_context(self._loop(bundle)) for _ in range(instances)]
            server = stack.enter_context(serving(self.model, *flags))
            return [
                Round(bare=_run(loops, self.duration_s), server=self._load(server, in_flight))
                for _ in range(self.rounds)
            ]

    def _load(self, server: Server, in_flight: int) -> float:
        load = server.load(self.images, self.duration_s, "--concurrency", str(in_flight))
        return load.images_per_second

    @contextmanager
    def _loop(self, bundle: Bundle) -> Iterator["subprocess.Popen[str]"]:
        crop, file = bundle.manifest.transform.crop, bundle.file("mindir-lite", "fp32")
        settings = [bundle.path / file.path, 1, self.batch, crop.height, crop.width]
        with subprocess.Popen(  # noqa: S603 - the interpreter that the operator names
            [self.lite_python, LOOP, *map(str, settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdin
            if _read(process) != "ready":
                raise RuntimeError(f"{self.lite_python} cannot run {bundle.path}")
            yield process
            process.stdin.close()

    def _handover(self, bundle: Bundle, batch: int) -> Iterator[float]:
        """Yield what a batch takes beyond the worker's own time, which holds Lite's input copy."""
        [backend] = load(
            bundle.path,
            bundle.manifest,
            bundle.file("mindir-lite", "fp32"),
            device=Device("cpu"),
            buckets=[batch],
            settings=RuntimeSettings(lite_python=self.lite_python),
        )
        assert isinstance(backend, LiteBackend)
        buffer = backend.allocate(batch)
        backend.run(buffer, batch)
        for _ in range(self.handover_batches):
            started = time.perf_counter()
            backend.run(buffer, batch)
            yield (time.perf_counter() - started - backend.worker_s) * 1e3
        backend.close()


def _run(loops: list["subprocess.Popen[str]"], seconds: float) -> float:
    """Let all loops run at once; return their images per second together."""
    for loop in loops:
        assert loop.stdin
        print(seconds, file=loop.stdin, flush=True)
    return sum(float(_read(loop)) for loop in loops)


def _read(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


if __name__ == "__main__":
    start(LiteBench)
