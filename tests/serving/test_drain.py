"""Servers that are told to stop while callers loop. `DRAINS=200` makes more drains of it."""

import asyncio
import logging
import os
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from protos import classifier_pb2 as pb
from protos.classifier_pb2_grpc import ClassifierStub
from serving.server import Server
from tests.serving.api.messages import png
from tests.support.process import ready, start
from tests.support.serving import running_server

if TYPE_CHECKING:
    from protos.classifier_pb2_grpc import ClassifierAsyncStub

DRAINS = int(os.environ.get("DRAINS", "3"))
# Callers with a connection of their own, and callers that share one.
ALONE, TOGETHER = 16, 16
OPTIONS = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]

logger = logging.getLogger(__name__)


@dataclass
class Load:
    """Callers that classify again and again, without retries, until their first failure."""

    outcomes: Counter[str] = field(default_factory=Counter)
    warm: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, address: str) -> None:
        """Return when all callers have failed."""
        async with asyncio.TaskGroup() as connections:
            for callers in (*[1] * ALONE, TOGETHER):
                connections.create_task(self._connect(address, callers))

    async def _connect(self, address: str, callers: int) -> None:
        async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
            stub = ClassifierStub(channel)
            await asyncio.gather(*(self._loop(stub) for _ in range(callers)))

    async def _loop(self, stub: "ClassifierAsyncStub") -> None:
        request = pb.ClassifyRequest(images=[png(1)])
        try:
            while True:
                await stub.Classify(request, timeout=20)
                self.outcomes["OK"] += 1
                if self.outcomes["OK"] >= 10 * (ALONE + TOGETHER):
                    self.warm.set()
        except grpc.aio.AioRpcError as error:
            self.outcomes[f"{error.code().name}: {error.details()}"] += 1

    def check(self) -> None:
        """All callers but for the answered ones were refused by the server itself."""
        refused = "UNAVAILABLE: the server is draining; try another"
        assert self.outcomes.keys() == {"OK", refused}, self.outcomes
        assert self.outcomes[refused] == ALONE + TOGETHER


def answered(server: Server) -> float:
    """Return how many images the server has answered."""
    labels = {"model": "tiny", "version": "1", "outcome": "ok"}
    return server.metrics.registry.get_sample_value("serving_images_total", labels) or 0.0


async def test_every_answer_of_a_server_that_drains_reaches_its_caller(tiny: Path) -> None:
    for drain in range(DRAINS):
        load = Load()
        async with running_server(tiny) as server, asyncio.timeout(60), asyncio.TaskGroup() as task:
            task.create_task(load.run(f"127.0.0.1:{server.grpc.port}"))
            await load.warm.wait()
            await server.drain()
        logger.info("drain %d: %d answered, %s", drain, answered(server), dict(load.outcomes))
        assert load.outcomes["OK"] == answered(server), load.outcomes
        load.check()


async def test_the_process_that_drains_answers_and_then_refuses(tiny: Path) -> None:
    process = start(tiny)
    address = ready(process).grpc
    load = Load()
    async with asyncio.timeout(60), asyncio.TaskGroup() as task:
        task.create_task(load.run(address))
        await load.warm.wait()
        process.send_signal(signal.SIGTERM)
    _, errors = await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in errors
    load.check()
