"""Making load: how requests are sent and when."""

import asyncio
import itertools
import selectors
import time
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray

from clients.channel import MAX_MESSAGE_BYTES
from protos import classifier_pb2 as pb

T = TypeVar("T")

METHOD = "/resnext.serving.v1.Classifier/Classify"
# A load tester that repeats requests hides what it is there to show.
OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.enable_retries", 0),
]


class Sample(NamedTuple):
    """One request: when it was due and done (monotonic seconds), and how it ended."""

    due: float
    done: float
    code: grpc.StatusCode
    timing: pb.Timing | None


class Target:
    """The server under load; requests are serialised beforehand and sent in turn."""

    def __init__(
        self, channel: grpc.aio.Channel, requests: Sequence[bytes], *, timeout_s: float
    ) -> None:
        self._classify: grpc.aio.UnaryUnaryMultiCallable[bytes, pb.ClassifyResponse]
        self._classify = channel.unary_unary(
            METHOD, response_deserializer=pb.ClassifyResponse.FromString
        )
        self._requests = itertools.cycle(requests)
        self._timeout_s = timeout_s

    async def ask(self, due: float) -> Sample:
        """Send the next request and wait for its end."""
        try:
            response = await self._classify(next(self._requests), timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            return Sample(due, time.monotonic(), error.code(), None)
        return Sample(due, time.monotonic(), grpc.StatusCode.OK, response.results[0].timing)


async def closed_loop(target: Target, *, concurrency: int, seconds: float) -> list[Sample]:
    """Keep so many requests in flight; each is due when the one before it is done."""
    samples: list[Sample] = []
    end = time.monotonic() + seconds

    async def caller() -> None:
        while (now := time.monotonic()) < end:
            samples.append(await target.ask(now))

    async with asyncio.TaskGroup() as callers:
        for _ in range(concurrency):
            callers.create_task(caller())
    return samples


async def open_loop(target: Target, *, arrivals: NDArray[np.float64]) -> list[Sample]:
    """Send a request at each arrival (seconds from now), whatever became of those before it."""
    start = time.monotonic()
    async with asyncio.TaskGroup() as requests:
        tasks = []
        for arrival in arrivals.tolist():
            await asyncio.sleep(start + arrival - time.monotonic())
            tasks.append(requests.create_task(target.ask(start + arrival)))
    return [task.result() for task in tasks]


def poisson(rate: float, seconds: float) -> NDArray[np.float64]:
    """Return the arrivals (seconds from the start) of a Poisson process, always the same ones."""
    random = np.random.default_rng(seed=0)
    arrivals = random.uniform(0, seconds, random.poisson(rate * seconds))
    return np.sort(arrivals)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop whose timers are exact: epoll's round up to milliseconds."""
    with asyncio.Runner(
        loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())
    ) as runner:
        return runner.run(main)
