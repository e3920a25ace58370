"""A real server process under the load tester, which is a process of its own."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import psutil
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, Field

TIMEOUT_S = 120


class Load(BaseModel):
    """What the server answered to so many callers at once."""

    images_per_second: float
    p50_ms: float
    p99_ms: float
    batch_images: float = Field(description="mean size of the batches in which images ran")
    cpu_ms: float = Field(description="CPU time of the server process per image")
    client_cpu_ms: float = Field(description="CPU time of the load tester per image")


class Usage(NamedTuple):
    """CPU seconds of the server so far, and images that it answered."""

    cpu_s: float
    images: float


class Server:
    """A server that is ready: its process and where it listens."""

    def __init__(self, process: "subprocess.Popen[str]", grpc: str, metrics: str) -> None:
        self._process, self._grpc, self._metrics = psutil.Process(process.pid), grpc, metrics

    def load(self, concurrency: int, images: str, seconds: float) -> Load:
        """Keep so many requests of one image in flight; every one must be answered."""
        with TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "clients", "bench", "--address", self._grpc]
            command += ["--concurrency", str(concurrency), "--duration", str(seconds)]
            command += [
                "--timeout-ms",
                str(TIMEOUT_S * 1000),
                "--images",
                images,
                "--output",
                folder,
            ]
            before = self._usage()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
            after = self._usage()
            [report] = json.loads(Path(folder, "bench.json").read_text())["runs"]
        if report["errors"]:
            raise RuntimeError(f"the server failed {report['errors']} of {report['requests']}")
        return Load(
            images_per_second=report["images_per_second"],
            p50_ms=report["latency_ms"]["p50"],
            p99_ms=report["latency_ms"]["p99"],
            batch_images=report["batch_images"],
            cpu_ms=(after.cpu_s - before.cpu_s) * 1e3 / (after.images - before.images),
            client_cpu_ms=report["client_cpu_ms"],
        )

    def _usage(self) -> Usage:
        cpu = self._process.cpu_times()
        with urllib.request.urlopen(self._metrics) as page:  # noqa: S310 - our own server
            families = text_string_to_metric_families(page.read().decode())
        images = sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == "serving_images_total" and sample.labels["outcome"] == "ok"
        )
        return Usage(cpu.user + cpu.system, images)


@contextmanager
def serving(model: Path, *flags: str) -> Iterator[Server]:
    """Run `python -m serving` on free ports, but for the flags with its default settings."""
    command = [sys.executable, "-m", "serving", "--model", str(model), "--log-level", "WARNING"]
    command += ["--grpc-port", "0", "--http-port", "0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            yield Server(process, *_addresses(process))
        finally:
            process.send_signal(signal.SIGTERM)


def _addresses(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """Wait for the lines that a ready server prints; return where gRPC and metrics are."""
    banner = "".join(process.stdout.readline() for _ in range(2)) if process.stdout else ""
    found = re.search(r"^gRPC +(\S+)\nHTTP +(\S+)\n", banner)
    if not found:
        raise RuntimeError(f"the server did not become ready, it said: {banner!r}")
    return found[1], found[2]
