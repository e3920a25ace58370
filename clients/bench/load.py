"""Making load: how requests are sent and when.

gRPC calls back on one thread of its own, and a closed loop sends the next request from there: of
the ways that grpcio offers this takes the least CPU time, and no thread waits for another.
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

from clients.channel import MAX_MESSAGE_BYTES

METHOD = "/resnext.serving.v1.Classifier/Classify"
# A load tester that repeats requests hides what it is there to show.
OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.enable_retries", 0),
]


class Sample(NamedTuple):
    """One request: when it was due and done (monotonic seconds), and how it ended.

    `response` is the ClassifyResponse as it came, to be parsed when the load is over.
    """

    due: float
    done: float
    code: grpc.StatusCode
    response: bytes | None


class Target:
    """The server under load; requests are serialised beforehand and sent in turn.

    Each has `timeout_s` from the moment when it is due.
    """

    def __init__(
        self, channel: grpc.Channel, requests: Sequence[bytes], *, timeout_s: float
    ) -> None:
        self._classify: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        self._requests = itertools.cycle(requests)
        self._timeout_s = timeout_s

    def ask(self, due: float, then: Callable[[Sample], None]) -> "grpc.Future[bytes]":
        """Send the next request and return its call; at its end gRPC's thread calls `then`."""
        left_s = max(0.0, due + self._timeout_s - time.monotonic())
        call = self._classify.future(next(self._requests), timeout=left_s)

        def ended(_: object) -> None:
            done, code = time.monotonic(), call.code()
            response = call.result() if code is grpc.StatusCode.OK else None
            then(Sample(due, done, code, response))

        call.add_done_callback(ended)
        return call


def connect(address: str) -> grpc.Channel:
    """Return a channel that repeats nothing."""
    return grpc.insecure_channel(address, options=OPTIONS)


def closed_loop(target: Target, *, concurrency: int, seconds: float) -> list[Sample]:
    """Keep so many requests in flight; each is due when the one before it is done."""
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
        end = 0.0  # after Ctrl-C, too, nobody asks again
    return samples


def open_loop(target: Target, *, arrivals: NDArray[np.float64]) -> list[Sample]:
    """Send a request at each arrival (seconds from now), whatever became of those before it."""
    samples: SimpleQueue[Sample] = SimpleQueue()
    start = time.monotonic()
    for arrival in arrivals.tolist():
        time.sleep(max(0.0, start + arrival - time.monotonic()))
        target.ask(start + arrival, samples.put)
    return sorted((samples.get() for _ in arrivals), key=lambda sample: sample.due)


def poisson(rate: float, seconds: float) -> NDArray[np.float64]:
    """Return the arrivals (seconds from the start) of a Poisson process, always the same ones."""
    random = np.random.default_rng(seed=0)
    arrivals = random.uniform(0, seconds, random.poisson(rate * seconds))
    return np.sort(arrivals)
