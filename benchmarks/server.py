"""A real server process under the load tester, which is a process of its own."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

import psutil
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, Field

from benchmarks.cpu_time import cpu_s

TIMEOUT_MS = 120_000
# The warm-up, as a share of the turn: the batches that run when counting begins must be as large as
# those that run when it ends, and an idle server begins with small ones.
WARM_UP = 0.25


class LoadResult(BaseModel):
    """What the server answered under some load."""

    images_per_second: float
    p50_ms: float
    p99_ms: float
    batch_images: float = Field(description="mean size of the batches in which images ran")
    cpu_ms: float = Field(description="CPU time of the server process per image")
    client_cpu_ms: float = Field(description="CPU time of the load tester per image")
    memory_mib: float = Field(description="resident memory of the server after the load")


class Server:
    """A server that is ready: its process and where it listens."""

    def __init__(self, process: "subprocess.Popen[str]", address: str, metrics: str) -> None:
        self.address, self.metrics = address, metrics
        self._process = psutil.Process(process.pid)

    def load(self, images: str, seconds: float, *load: str) -> LoadResult:
        """Run the load tester with these flags; every request must be answered."""
        with TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "benchmarks.load", "--address", self.address, *load]
            command += ["--duration-s", str(seconds), "--warm-up-s", str(WARM_UP * seconds)]
            command += ["--timeout-ms", str(TIMEOUT_MS), "--images", images, "--output", folder]
            cpu_before = self.cpu_s()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
            cpu_s = self.cpu_s() - cpu_before
            [report] = json.loads(Path(folder, "bench.json").read_text())["runs"]
        if report["errors"]:
            raise RuntimeError(f"the server failed {report['errors']} of {report['requests']}")
        return LoadResult(
            images_per_second=report["images_per_second"],
            p50_ms=report["latency_ms"]["p50"],
            p99_ms=report["latency_ms"]["p99"],
            batch_images=report["batch_images"],
            cpu_ms=cpu_s * 1e3 / report["answered"],
            client_cpu_ms=report["client_cpu_ms"],
            memory_mib=self.memory_mib(),
        )

    def count(self, metric: str, **labels: str) -> float:
        """Return the sum of a metric's series that carry these labels."""
        with urllib.request.urlopen(self.metrics) as page:  # noqa: S310 - our own server
            families = text_string_to_metric_families(page.read().decode())
        samples = [s for family in families for s in family.samples if s.name == metric]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    def memory_mib(self) -> float:
        """Return its resident memory."""
        return float(self._process.memory_info().rss / 2**20)

    def cpu_s(self) -> float:
        """Return the CPU time that it has taken."""
        return cpu_s([self.pid])

    def stop(self, patience_s: float) -> float | None:
        """Send SIGTERM; return the seconds until it ends, None if it must be killed after all."""
        started = time.monotonic()
        self._process.terminate()
        try:
            self._process.wait(patience_s)
        except psutil.TimeoutExpired:
            self._process.kill()
            return None
        return time.monotonic() - started


@contextmanager
def serving(
    model: Path,
    *flags: str,
    module: str = "serving",
    tree: Path | None = None,
    log: TextIO | None = None,
) -> Iterator[Server]:
    """Run `python -m serving` on free ports, with its defaults except for these flags.

    What `tune` has found is no default. `tree` is the checkout that it runs from, None for this
    one; `log` gets its log.
    """
    command = [sys.executable, "-m", module, "--model", str(model.absolute())]
    command += ["--log-level", "WARNING", "--grpc-port", "0", "--http-port", "0", *flags]
    with listening(command, tree, log) as server:
        yield server


@contextmanager
def listening(
    command: Sequence[str], tree: Path | None = None, log: TextIO | None = None
) -> Iterator[Server]:
    """Run a command that prints where it listens as `python -m serving` does; end it after use."""
    # A variable: a checkout of before `tune` knows no such flag.
    variables = os.environ | {"SERVING_TUNED": "off"} | ({"PYTHONPATH": str(tree)} if tree else {})
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=tree, env=variables
    ) as process:
        try:
            yield Server(process, *_addresses(process))
        finally:
            process.terminate()


def _addresses(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """Wait for the lines that a ready server prints; return where gRPC and metrics are."""
    banner = "".join(process.stdout.readline() for _ in range(2)) if process.stdout else ""
    found = re.search(r"^gRPC +(\S+)\nHTTP +(\S+)\n", banner)
    if not found:
        raise RuntimeError(f"the server did not become ready, it said: {banner!r}")
    return found[1], found[2]
