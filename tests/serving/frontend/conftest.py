"""Engines of the tests' own process, and real front ends."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, cast

import grpc
import psutil

from protos import classifier_pb2 as pb
from protos.classifier_pb2_grpc import ClassifierStub
from serving.server import Server
from tests.support.serving import until

if TYPE_CHECKING:
    from protos.classifier_pb2_grpc import ClassifierAsyncStub

OWN = [("grpc.use_local_subchannel_pool", 1)]


def front_ends(of: int | None = None) -> list[psutil.Process]:
    """Return the front ends of a process, of this one if none is named."""
    return [
        child
        for child in psutil.Process(of).children()
        if child.status() != psutil.STATUS_ZOMBIE and "serving.frontend" in child.cmdline()
    ]


@asynccontextmanager
async def connected(
    server: Server, connections: int = 1
) -> AsyncIterator["list[ClassifierAsyncStub]"]:
    """Stubs, each with a connection of its own, which is one front end's."""
    address = f"127.0.0.1:{server.grpc.port}"
    async with AsyncExitStack() as stack:
        yield [
            ClassifierStub(await stack.enter_async_context(grpc.aio.insecure_channel(address, OWN)))
            for _ in range(connections)
        ]


async def call(
    stub: "ClassifierAsyncStub", *images: pb.Image, timeout_s: float = 30
) -> pb.ClassifyResponse:
    """Classify images; wait for a front end if there is none at the moment."""
    request = pb.ClassifyRequest(images=images, top_k=1)
    return await stub.Classify(request, timeout=timeout_s, wait_for_ready=True)


def classes(responses: Iterable[object]) -> list[int]:
    """Return the first class of the first image of each."""
    return [cast("pb.ClassifyResponse", one).results[0].classes[0].index for one in responses]


def deaths(server: Server, reason: str) -> float | None:
    """Return how many front ends have ended so."""
    name = "serving_frontend_deaths_total"
    return server.metrics.registry.get_sample_value(name, {"reason": reason})


async def all_up(server: Server, frontends: int) -> None:
    """Wait until so many front ends take calls."""
    value = server.metrics.registry.get_sample_value
    await until(lambda: value("serving_frontends") == frontends)
