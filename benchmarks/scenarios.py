"""What a server must survive: more load than it can answer, and callers that cancel."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from statistics import mean, median

import grpc
from pydantic import BaseModel, Field

from benchmarks.load.loops import Sample, Target
from benchmarks.load.report import Report
from benchmarks.load.runs import Closed, Load, Open, measure
from benchmarks.load.wire import Cancel, Wire
from benchmarks.records import Record
from benchmarks.server import Server

PATIENCE_S = 60.0
HEADER = ("what", "median", "each round", "aim")


class Flood(BaseModel):
    """An open loop far above capacity, and a lone caller before it and one second after it."""

    capacities: tuple[float, float] = Field(
        description="img/s of the best closed loop, just before and just after"
    )
    capacity_concurrency: int
    offered: float = Field(description="requests of one image per second")
    seconds: float
    deadline_s: float
    goodput: float = Field(description="img/s answered within the deadline")
    p50_ms: float | None = Field(description="of the answered")
    p99_ms: float | None
    errors: dict[str, int]
    client_cpu_ms: float = Field(description="CPU time of the load tester per request")
    memory_mib: list[float] = Field(description="of the server, twice a second")
    lone_before_ms: float = Field(description="median latency of a lone caller")
    lone_after_ms: float

    @property
    def share(self) -> float:
        """Goodput over the capacity, which is the mean of both, for the machine's speed drifts."""
        return self.goodput / mean(self.capacities)

    @property
    def growth_mib(self) -> float:
        """Largest memory of the last third less that of the first."""
        third = max(1, len(self.memory_mib) // 3)
        return max(self.memory_mib[-third:]) - max(self.memory_mib[:third])


class Departure(BaseModel):
    """Many callers at once; every second one cancels at the first answer."""

    callers: int
    stayed: int
    answered: int = Field(description="of those that stayed")
    ran: int = Field(description="images that ran on the device")
    wasted: int = Field(description="of these, for callers that had cancelled")


class OverloadRecord(Record):
    """A run of this benchmark."""

    model: str
    digest: str
    images: str
    floods: list[Flood]
    departures: list[Departure]

    def cells(self) -> list[list[str]]:
        """Return the rows of the table."""
        floods, departures = self.floods, self.departures
        answered = sum(departure.answered for departure in departures)
        stayed = sum(departure.stayed for departure in departures)
        wasted = sum(d.wasted for d in departures) / sum(d.ran for d in departures)
        errors = sum((Counter(flood.errors) for flood in floods), Counter[str]())
        refused = ", ".join(f"{code} {count}" for code, count in sorted(errors.items()))
        seconds, deadline_s = floods[0].seconds, floods[0].deadline_s
        return [
            _row("capacity before, img/s", ".1f", "", [f.capacities[0] for f in floods]),
            _row("capacity after, img/s", ".1f", "", [f.capacities[1] for f in floods]),
            _row(f"offered for {seconds:g} s, img/s", ".1f", "", [f.offered for f in floods]),
            _row(
                f"answered within {deadline_s:g} s, img/s", ".1f", "", [f.goodput for f in floods]
            ),
            _row("share of capacity", ".1%", "≥ 90 %", [f.share for f in floods]),
            _row("p50 of the answered, ms", ".0f", "", [f.p50_ms for f in floods]),
            _row("p99 of the answered, ms", ".0f", "", [f.p99_ms for f in floods]),
            ["not answered", refused or "none", "", ""],
            _row("load tester, CPU ms/request", ".3f", "≤ 0.3", [f.client_cpu_ms for f in floods]),
            _row("server memory before, MiB", ".0f", "", [f.memory_mib[0] for f in floods]),
            _row("growth, first to last third", ".1f", "flat", [f.growth_mib for f in floods]),
            _row("lone caller before, p50 ms", ".2f", "", [f.lone_before_ms for f in floods]),
            _row("1 s after, p50 ms", ".2f", "the same", [f.lone_after_ms for f in floods]),
            [
                "half cancelled: others answered",
                f"{answered} of {stayed}",
                "",
                "all",
            ],
            ["inference for cancelled calls", f"{wasted:.1%}", "", "≤ 5 %"],
        ]


def _row(what: str, form: str, aim: str, values: Sequence[float | None]) -> list[str]:
    """Return a row: the median, each round, the aim; None is a round without an answer."""
    known = [value for value in values if value is not None]
    each = ", ".join("-" if value is None else f"{value:{form}}" for value in values)
    return [what, f"{median(known):{form}}" if known else "-", each, aim]


class Caller:
    """Loads a server in this process; requests are serialised and carry one image each."""

    def __init__(self, server: Server, wire: Wire, requests: Sequence[bytes]) -> None:
        self._server, self._wire, self._requests = server, wire, requests

    def flood(self, times: float, seconds: float, deadline_s: float) -> Flood:
        """Send this multiple of the capacity."""
        short = seconds / 8
        loops = {n: self._run(Closed(n), short).images_per_second for n in (8, 32, 64)}
        best, lone = max(loops, key=lambda n: loops[n]), self._run(Closed(1), short)
        started = time.monotonic()
        with self._memory() as memory:
            load = Open(times * loops[best])
            report = self._run(load, seconds, warm_up_s=0.0, timeout_s=deadline_s)
        time.sleep(max(0.0, started + seconds + 1.0 - time.monotonic()))
        after = self._run(Closed(1), short, warm_up_s=0.0)
        again = self._run(Closed(best), short)
        return Flood(
            capacities=(loops[best], again.images_per_second),
            capacity_concurrency=best,
            offered=report.requests / seconds,
            seconds=seconds,
            deadline_s=deadline_s,
            goodput=report.goodput,
            p50_ms=report.latency_ms.get("p50"),
            p99_ms=report.latency_ms.get("p99"),
            errors=report.errors,
            client_cpu_ms=report.client_cpu_ms,
            memory_mib=memory,
            lone_before_ms=lone.latency_ms["p50"],
            lone_after_ms=after.latency_ms["p50"],
        )

    def departure(self, callers: int) -> Departure:
        """Let this many call at once."""
        ends: SimpleQueue[tuple[int, Sample]] = SimpleQueue()
        target = Target(self._wire, self._requests, timeout_s=PATIENCE_S)
        ran, wasted = self._device()

        def call(caller: int) -> Cancel:
            return target.ask(time.monotonic(), lambda sample: ends.put((caller, sample)))

        leave = [call(caller) for caller in range(callers)]
        first = ends.get()
        for cancel in leave[::2]:
            cancel()
        ended = dict([first, *(ends.get() for _ in leave[1:])])
        stayed = [ended[caller].code for caller in range(1, callers, 2)]
        ran_then, wasted_then = self._device()
        return Departure(
            callers=callers,
            stayed=len(stayed),
            answered=stayed.count(grpc.StatusCode.OK),
            ran=int(ran_then - ran),
            wasted=int(wasted_then - wasted),
        )

    def _run(
        self, load: Load, seconds: float, *, warm_up_s: float = 0.5, timeout_s: float = PATIENCE_S
    ) -> Report:
        [report] = measure(
            self._wire,
            [load],
            self._requests,
            seconds=seconds,
            warm_up_s=warm_up_s,
            timeout_s=timeout_s,
        )
        return report

    def _device(self) -> tuple[float, float]:
        """Return how many images ran, and how many of them in vain, once none is in flight."""
        while self._server.count("serving_inflight_images"):
            time.sleep(0.05)
        ran = self._server.count("serving_batch_images_sum")
        return ran, self._server.count("serving_wasted_images_total")

    @contextmanager
    def _memory(self) -> Iterator[list[float]]:
        """Sample the server's memory twice a second until the context ends."""
        samples, over = [self._server.memory_mib()], threading.Event()

        def sample() -> None:
            while not over.wait(0.5):
                samples.append(self._server.memory_mib())

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield samples
        finally:
            over.set()
            thread.join()
