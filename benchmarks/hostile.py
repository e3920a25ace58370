"""`python -m benchmarks.hostile`: what a good caller notices while another sends hostile input."""

import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import grpc
import numpy as np
from pydantic import BaseModel, Field, PositiveFloat
from rich.console import Console

from benchmarks.command import RESULTS, Benchmark, configured, start
from benchmarks.records import Record, circumstances, markdown
from benchmarks.server import Server, serving
from cli.program import UsageError
from cli.tables import show_rows

if TYPE_CHECKING:
    from benchmarks.hostile_calls import Attack
    from benchmarks.load.loops import Sample

# The good caller: images per second, and the deadline of each.
RATE, DEADLINE_S = 20.0, 1.0
SAMPLE_S = 0.05
# How long a server may take to end after SIGTERM; its grace period is 30 s.
PATIENCE_S = 35.0
HEADER = (
    "attack", "good caller in time", "over HTTP", "p50 ms", "p99 ms", "answers to the attack",
    "server CPU s", "growth MiB", "log KB", "end s",
)  # fmt: skip


class Turn(BaseModel):
    """One attack on a server of its own."""

    attack: str
    in_time: int = Field(description="images of the good caller answered within its deadline")
    sent: int = Field(description="images of the good caller")
    http_in_time: int = Field(description="images of its like over HTTP answered in time")
    http_sent: int = Field(description="images of its like over HTTP")
    p50_ms: float | None = Field(description="of its answers")
    p99_ms: float | None
    outcome: dict[str, int] = Field(description="how the attack's calls ended, by code")
    cpu_s: float = Field(description="CPU time of the server")
    growth_mib: float = Field(description="largest resident memory less that before")
    log_bytes: int = Field(description="what the server wrote to its log")
    end_s: float | None = Field(description="from SIGTERM to the end; None if it was killed")

    def cells(self) -> list[str]:
        """Return the row of the table."""
        latencies = ["-" if ms is None else f"{ms:.1f}" for ms in (self.p50_ms, self.p99_ms)]
        outcome = ", ".join(f"{code} {count}" for code, count in sorted(self.outcome.items()))
        end = "killed" if self.end_s is None else f"{self.end_s:.1f}"
        shares = f"{self.in_time / self.sent:.1%}", f"{self.http_in_time / self.http_sent:.1%}"
        figures = f"{self.cpu_s:.1f}", f"{self.growth_mib:.0f}", f"{self.log_bytes / 1e3:.0f}"
        return [self.attack, *shares, *latencies, outcome or "-", *figures, end]


class HostileRecord(Record):
    """A run of this benchmark."""

    model: str
    tree: str
    duration_s: float
    turns: list[Turn]


class Hostile(Benchmark):
    """Attack a server, and count what good callers lose: each 20 small PNGs a second in 1 s.

    One calls over gRPC, the other over HTTP.
    """

    model_config = configured("benchmarks.hostile")

    model: Path = Field(Path("models/fashion_resnext/1"), description="bundle directory")
    images: str = Field("examples/images", description="what the good caller sends")
    tree: Path | None = Field(None, description="checkout whose server is attacked; unset: this")
    only: list[str] = Field([], description="names of attacks, comma-separated; unset: all")
    duration_s: PositiveFloat = Field(10.0, description="length of each attack, in seconds")
    output: Path = Field(RESULTS, description="folder for hostile.json and hostile.md")

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        record = self._measure()
        table = [turn.cells() for turn in record.turns]
        show_rows(HEADER, table, title=f"{record.model}, {record.duration_s:g} s each")
        record.write(self.output, "hostile", markdown(HEADER, table))

    def _measure(self) -> HostileRecord:
        from benchmarks.hostile_attacks import attacks

        known, turns = attacks(), []
        if unknown := sorted(set(self.only) - set(known)):
            raise UsageError(f"no such attack: {', '.join(unknown)}; there are {', '.join(known)}")
        started = circumstances("benchmarks.hostile")
        with Console(stderr=True).status("Making files") as status:
            for name in self.only or known:
                status.update(name)
                turns.append(self._turn(name, known[name]))
        return HostileRecord(
            **started.model_dump(),
            model=str(self.model),
            tree=str(self.tree or "."),
            duration_s=self.duration_s,
            turns=turns,
        )

    def _turn(self, name: str, attack: "Attack") -> Turn:
        from benchmarks.hostile_http import GoodCaller

        with (
            TemporaryFile("w+") as log,
            serving(self.model, tree=self.tree, log=log) as server,
        ):
            _good_caller(server, self.images, seconds=1.0)  # warms up both sides
            cpu_s, memory = server.cpu_s(), MemoryWatch(server)
            end = time.monotonic() + self.duration_s
            http_caller = GoodCaller(server, self.images, DEADLINE_S)
            with ThreadPoolExecutor(2) as others:
                ended = others.submit(attack, server, end)
                over_http = others.submit(http_caller.run, end, RATE)
                samples = _good_caller(server, self.images, self.duration_s)
                http_in_time, http_sent = over_http.result()
                cpu_s = server.cpu_s() - cpu_s
                growth_mib = memory.stop()
                end_s = server.stop(PATIENCE_S)
            log_bytes = os.fstat(log.fileno()).st_size
        answered = [s for s in samples if s.code is grpc.StatusCode.OK]
        latencies = [(s.done - s.due) * 1e3 for s in answered]
        p50_ms, p99_ms = np.percentile(latencies, [50, 99]).tolist() if answered else (None, None)
        return Turn(
            attack=name,
            in_time=sum(s.done - s.due <= DEADLINE_S for s in answered),
            sent=len(samples),
            http_in_time=http_in_time,
            http_sent=http_sent,
            p50_ms=p50_ms,
            p99_ms=p99_ms,
            outcome=ended.result(),
            cpu_s=cpu_s,
            growth_mib=growth_mib,
            log_bytes=log_bytes,
            end_s=end_s,
        )


class MemoryWatch:
    """Watches a server's resident memory, from its creation until `stop`."""

    def __init__(self, server: Server) -> None:
        self._server, self._before = server, server.memory_mib()
        self._largest = self._before
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> float:
        """Return by how many MiB it has grown at most."""
        self._stopped.set()
        self._thread.join()
        return self._largest - self._before

    def _watch(self) -> None:
        while not self._stopped.wait(SAMPLE_S):
            self._largest = max(self._largest, self._server.memory_mib())


def _good_caller(server: Server, images: str, seconds: float) -> "Sequence[Sample]":
    from benchmarks.load.loops import Target, open_loop
    from benchmarks.load.wire import Wire, read_requests

    with Wire(server.address) as wire:
        target = Target(wire, read_requests(images), timeout_s=DEADLINE_S)
        return open_loop(target, arrivals=np.arange(0, seconds, 1 / RATE))


if __name__ == "__main__":
    start(Hostile)
