"""Making load: how requests are sent and when.

One thread handles the ends of all requests, and a closed loop sends the next one from there: no
thread waits for another.
"""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import NamedTuple

import grpc
import numpy as np
from numpy.typing import NDArray

from benchmarks.load.wire import Cancel, Sender

# The shortest sleep of an open loop: requests due within it go out together, late by this at most,
# which counts as latency. A wake-up for each would cost a third of what sending costs.
NAP_S = 0.001


class Sample(NamedTuple):
    """One request: when it was due and done (monotonic seconds), and how it ended.

    `response` is as it came, to be parsed when the load is over.
    """

    due: float
    done: float
    code: grpc.StatusCode
    response: bytes | None


class Target:
    """The server under load; requests are serialised beforehand and sent in turn.

    Each has `timeout_s` from the moment when it is due.
    """

    def __init__(self, wire: Sender, requests: Sequence[bytes], *, timeout_s: float) -> None:
        self._wire, self._timeout_s = wire, timeout_s
        self._requests = itertools.cycle(requests)

    def ask(self, due: float, then: Callable[[Sample], None]) -> Cancel:
        """Send the next request; at its end `then` is called. Return what cancels it."""

        def ended(code: grpc.StatusCode, response: bytes | None) -> None:
            then(Sample(due, time.monotonic(), code, response))

        left_s = max(0.0, due + self._timeout_s - time.monotonic())
        return self._wire.ask(next(self._requests), left_s, ended)


def closed_loop(target: Target, *, concurrency: int, seconds: float) -> list[Sample]:
    """Keep this many requests in flight; each is due when the one before it is done."""
    samples: list[Sample] = []
    finished = threading.Semaphore(0)
    end = time.monotonic() + seconds

    def ask() -> None:
        if (now := time.monotonic()) < end:
            target.ask(now, answered)
        else:
            finished.release()

    def answered(sample: Sample) -> None:
        samples.append(sample)
        ask()

    try:
        for _ in range(concurrency):
            ask()
        for _ in range(concurrency):
            finished.acquire()
    finally:
        end = 0.0  # after Ctrl-C, too, no request follows
    return samples


def open_loop(target: Target, *, arrivals: NDArray[np.float64]) -> list[Sample]:
    """Send a request at each arrival (seconds from now), whatever became of those before it."""
    samples: SimpleQueue[Sample] = SimpleQueue()
    start = time.monotonic()
    for arrival in arrivals.tolist():
        if (ahead_s := start + arrival - time.monotonic()) > 0:
            time.sleep(max(ahead_s, NAP_S))
        target.ask(start + arrival, samples.put)
    return sorted((samples.get() for _ in arrivals), key=lambda sample: sample.due)


def poisson(rate: float, seconds: float) -> NDArray[np.float64]:
    """Return the arrivals (seconds from the start) of a Poisson process, always the same ones."""
    random = np.random.default_rng(seed=0)
    arrivals = random.uniform(0, seconds, random.poisson(rate * seconds))
    return np.sort(arrivals)
