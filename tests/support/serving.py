"""Parts of a server, small enough for one test."""

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from prometheus_client import CollectorRegistry

from bundle.store import Bundle
from images.limits import ImageLimits
from images.transform import Pixels
from serving.backends.backend import Instance
from serving.config import ServingConfig
from serving.engine.build import build
from serving.engine.job import Answer
from serving.engine.room import Limits
from serving.engine.sources import Raw
from serving.errors import ServingError
from serving.metrics import Metrics
from serving.server import Server
from tests.support.bundles import BUCKETS, LABELS, SIDE
from tests.support.fake_backend import FakeBackend


class VirtualClock:
    """Time that passes when a test says so, in seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on a virtual clock, which runs when it is told to."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self.time = clock  # type: ignore[method-assign]

    def turn(self) -> None:
        """Run all that is due."""
        for _ in range(6):
            self.call_soon(self.stop)
            self.run_forever()


class Gate:
    """Holds a backend's batches until it is opened, and fails those with a poisoned image."""

    POISON = 200

    def __init__(self, *, is_open: bool = False) -> None:
        self.entered = threading.Semaphore(0)
        self._permits = threading.Semaphore(0)
        if is_open:
            self.open()

    def __call__(self, images: Pixels) -> None:
        self.entered.release()
        assert self._permits.acquire(timeout=30)
        if (images[:, 0, 0, 0] == self.POISON).any():
            raise RuntimeError("poisoned")

    def open(self, batches: int = 1000) -> None:
        """Let so many batches pass."""
        self._permits.release(batches)

    async def wait(self) -> None:
        """Return as soon as one more batch is at the gate."""
        assert await asyncio.to_thread(self.entered.acquire, timeout=30)


def fake_backend(gate: Gate) -> FakeBackend:
    """Return a backend of the tiny bundle's form."""
    return FakeBackend(len(LABELS), SIDE, gate)


class Asking:
    """A caller on no thread: what is posted is done at once, on the thread that posts it."""

    keeps_time, name = True, "somebody"

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.answers: list[Answer] | None = None

    def post(self, work: Callable[[], None]) -> bool:
        work()
        return True

    def answer(self, answers: list[Answer]) -> None:
        self.answers = answers

    def refuse(self, error: ServingError) -> None:
        raise error

    def on_leave(self, leave: Callable[[], None]) -> None:
        self.leave = leave


def grey(value: int) -> Raw:
    """Return an image for which the fake backend answers class `value % 6`."""
    return Raw(bytes([value]) * 64, height=8, width=8, channels=1)


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks and threads run until the condition holds, for at most a minute."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what it waits for happens in other threads
            await asyncio.sleep(0.001)  # a loop that spins would keep Python's lock from them


@dataclass
class Rig:
    """A model on fake devices, its gate and its metrics."""

    path: Path
    devices: int = 1
    slots: int = 64
    gate: Gate = field(default_factory=Gate)
    limits: Limits | None = None
    clock: Callable[[], float] = time.monotonic
    overdue_s: float = math.inf
    wide: FakeBackend | None = None
    share: float = 1.0
    # The same tests hold for threads that decode and for devices that do.
    decode_threads: ClassVar[int] = 1

    def __post_init__(self) -> None:
        self.may_reopen = threading.Event()
        self.may_reopen.set()
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.backends = [fake_backend(self.gate) for _ in range(self.devices)]
        self.model = build(
            Bundle.open(self.path),
            [Instance(backend, self.reopen) for backend in self.backends],
            buckets=BUCKETS,
            decode_threads=self.decode_threads,
            background_threads=1,
            limits=self.limits or Limits(self.slots, 10**9, 10**9),
            share=self.share,
            image_limits=ImageLimits(max_image_pixels=10_000),
            metrics=self.metrics,
            overdue_s=self.overdue_s,
            wide=self.wide,
            clock=self.clock,
        )

    def reopen(self, buckets: Sequence[int]) -> FakeBackend:
        """Open a backend in the place of a lost one, once the test lets it."""
        assert self.may_reopen.wait(30)
        self.backends.append(fake_backend(self.gate))
        return self.backends[-1]

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Rig"]:
        """Run the model; at the end everything must have been given back."""
        self.model.start()
        try:
            yield self
        finally:
            self.gate.open()
            await asyncio.to_thread(self.model.close)
        assert self.sample("inflight_images") == 0
        assert self.sample("queue_images") == 0

    def classify(self, *values: int, timeout_s: float = 30.0) -> "asyncio.Task[list[object]]":
        """Start a request of grey images."""
        deadline = self.model.clock() + timeout_s
        sources = [grey(value) for value in values]
        return asyncio.ensure_future(self.model.classify(sources, deadline))  # type: ignore[arg-type]

    async def busy(self) -> "asyncio.Task[list[object]]":
        """Start a request that keeps a device busy until the gate opens."""
        request = self.classify(0)
        await self.gate.wait()
        return request

    async def queued(self, images: int) -> None:
        """Wait until so many images are decoded and wait for a device."""
        await until(lambda: self.sample("queue_images") == images)

    def waiting(self) -> int:
        """Return how many images wait, for a decoder or a device."""
        stages = self.model.decoders, self.model.background, self.model.batcher
        return sum(len(stage.queue) for stage in stages)

    def sample(self, name: str, **labels: str) -> float | None:
        """Return the value of a metric of the tiny model."""
        bound = {"model": "tiny", "version": "1", **labels}
        return self.registry.get_sample_value(f"serving_{name}", bound)

    def images(self, outcome: str) -> float | None:
        """Return how many images ended so."""
        return self.sample("images_total", outcome=outcome)


def classes(answers: list[object]) -> list[int]:
    """Return the first class of each answer."""
    return [int(np.argmax(answer.probabilities)) for answer in answers]  # type: ignore[attr-defined]


@asynccontextmanager
async def running_server(path: Path, **settings: object) -> AsyncIterator[Server]:
    """Run a server of the bundle at `path` on free ports."""
    async with listening_server(path, **settings) as server:
        await server.load()
        await server.start()
        yield server


@asynccontextmanager
async def repository_server(root: Path, **settings: object) -> AsyncIterator[Server]:
    """Run a server of the repository at `root`, whose models load quickly, on free ports."""
    quick = {"repository": root, "instances": 1, "buckets": (1, 2)}
    ports = {"grpc_port": 0, "http_port": 0}
    server = Server(ServingConfig.model_validate(quick | ports | settings))
    async with server.listening():
        await server.load()
        await server.start()
        yield server


@asynccontextmanager
async def gated_server(rig: Rig, **settings: object) -> AsyncIterator[Server]:
    """Run a server of the rig's model on free ports; at the end the gate is opened."""
    async with listening_server(rig.path, **settings) as server:
        rig.model.start()
        rig.model.on_ready(server.models_changed)
        server.repository.add(rig.model)
        await server.start()
        try:
            yield server
        finally:
            rig.gate.open()


@asynccontextmanager
async def listening_server(path: Path, **settings: object) -> AsyncIterator[Server]:
    """Listen on free ports with nothing loaded."""
    ports = {"grpc_port": 0, "http_port": 0}
    server = Server(ServingConfig.model_validate({"model": [path], **ports, **settings}))
    async with server.listening():
        yield server
