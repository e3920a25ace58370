"""The runs of a load test, one after the other, each measured after a warm-up."""

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from benchmarks.load.loops import Sample, Target, closed_loop, open_loop, poisson
from benchmarks.load.report import Report, summarize
from benchmarks.load.wire import Sender


class Load(Protocol):
    """A way of sending requests for some time."""

    def __call__(self, target: Target, seconds: float) -> list[Sample]:
        """Return a sample of every request sent, when all of them have ended."""
        ...


@dataclass(frozen=True, slots=True)
class Closed:
    """A number of requests in flight at any time."""

    concurrency: int

    def __str__(self) -> str:
        return f"{self.concurrency} in flight"

    def __call__(self, target: Target, seconds: float) -> list[Sample]:
        """Run the closed loop."""
        return closed_loop(target, concurrency=self.concurrency, seconds=seconds)


@dataclass(frozen=True, slots=True)
class Open:
    """A number of requests per second, at random moments."""

    rate: float

    def __str__(self) -> str:
        return f"{self.rate:g} per s"

    def __call__(self, target: Target, seconds: float) -> list[Sample]:
        """Run the open loop."""
        return open_loop(target, arrivals=poisson(self.rate, seconds))


def measure(
    wire: Sender,
    loads: Sequence[Load],
    requests: Sequence[bytes],
    *,
    seconds: float,
    warm_up_s: float,
    timeout_s: float,
) -> Iterator[Report]:
    """Yield a report per load; `requests` are serialised and sent in turn."""
    target = Target(wire, requests, timeout_s=timeout_s)
    with _uncollected():
        for load in loads:
            began, cpu_began = time.monotonic(), time.process_time()
            samples = load(target, warm_up_s + seconds)
            yield summarize(
                str(load),
                samples,
                wire.timing,
                start=began + warm_up_s,
                seconds=seconds,
                timeout_s=timeout_s,
                cpu_s=time.process_time() - cpu_began,
            )


@contextmanager
def _uncollected() -> Iterator[None]:
    """Stop the garbage collector: it would pause the clock's reader, and costs CPU time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
