"""One sampler for all who watch: it runs while somebody does, and keeps what it saw for a while."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import orjson
from prometheus_client import CollectorRegistry, Gauge

from serving.engine.model import Model
from serving.http.watch.reading import Reading, describe
from serving.metrics import ModelMetrics

INTERVAL_S = 1.0
# The last 15 minutes.
KEPT = 900
MOST_VIEWERS = 32
# How long one watches: then it may ask anew, with a token that is still good, and if there is room.
# What a client does not read fits into the system's buffers for much longer.
LONGEST_S = 300.0
# What a viewer gets at once of what was kept: it may read slowly, and should not hold all of that.
AT_ONCE = 60


class Event(NamedTuple):
    """A sample, as all viewers get it, and its number, from 1."""

    number: int
    content: bytes


class Sampler:
    """Looks at the metrics once a second, from the first viewer's coming to the last one's leaving.

    Nothing happens without viewers. What was seen is kept for the next one, who sees the gap. Only
    the event loop may call.

    Args:
        models: returns the loaded models.
        closing: set when the server accepts no more calls; what viewers watch ends then.
        registry: gets the number of viewers.
    """

    def __init__(
        self,
        models: Callable[[], Sequence[Model]],
        closing: asyncio.Event,
        registry: CollectorRegistry,
    ) -> None:
        self._models, self._closing = models, closing
        self._kept = deque[Event](maxlen=KEPT)
        self._number = 0
        self._viewers = 0
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()  # set at the next sample, and then replaced
        gauge = Gauge("serving_watch_viewers", "Viewers of /v1/watch", registry=registry)
        gauge.set_function(lambda: self._viewers)

    @property
    def is_full(self) -> bool:
        """Whether there are as many viewers as there may be."""
        return self._viewers >= MOST_VIEWERS

    async def watch(self) -> AsyncGenerator[bytes]:
        """Yield what is kept, then each sample, as server-sent events.

        They end after `LONGEST_S`, or when the server closes.
        """
        end_s = time.monotonic() + LONGEST_S
        with self._viewing():
            seen = 0
            while not self._closing.is_set() and time.monotonic() < end_s:
                if fresh := [event for event in self._kept if event.number > seen][:AT_ONCE]:
                    seen = fresh[-1].number
                    yield b"".join(event.content for event in fresh)
                else:
                    await self._news.wait()
                    if self._task and self._task.done():
                        self._task.result()  # raises what ended it

    @contextmanager
    def _viewing(self) -> Iterator[None]:
        self._viewers += 1
        if not self._task:
            self._task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._viewers -= 1
            if not self._viewers and self._task:
                self._task.cancel()
                self._task = None

    async def _run(self) -> None:
        """Take samples; the first one needs two looks."""
        looked_s, before = time.monotonic(), self._look()
        due_s = looked_s
        try:
            while not self._closing.is_set():
                due_s = max(due_s + INTERVAL_S, time.monotonic())
                try:
                    async with asyncio.timeout_at(due_s):
                        await self._closing.wait()
                except TimeoutError:
                    now_s, now = time.monotonic(), self._look()
                    self._keep(now, before, now_s - looked_s)
                    looked_s, before = now_s, now
                    self._tell()
        finally:
            self._tell()

    def _look(self) -> dict[ModelMetrics, Reading]:
        # By its metrics: a model that is loaded again under the same name counts from zero.
        return {model.metrics: Reading.of(model) for model in self._models()}

    def _keep(
        self,
        now: dict[ModelMetrics, Reading],
        before: dict[ModelMetrics, Reading],
        seconds: float,
    ) -> None:
        sample = {
            "time_s": round(time.time(), 3),
            "seconds": round(seconds, 3),
            "viewers": self._viewers,
            "models": [
                describe(model, now[model.metrics], before[model.metrics], seconds)
                for model in self._models()
                if model.metrics in before and model.metrics in now
            ],
        }
        self._number += 1
        self._kept.append(Event(self._number, b"data: " + orjson.dumps(sample) + b"\n\n"))

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
