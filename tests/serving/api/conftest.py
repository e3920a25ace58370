from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from protos.classifier_pb2_grpc import ClassifierStub
from serving.server import Server
from tests.support.serving import running_server

if TYPE_CHECKING:
    from protos.classifier_pb2_grpc import ClassifierAsyncStub


@asynccontextmanager
async def calling(server: Server) -> AsyncIterator["ClassifierAsyncStub"]:
    """A stub that calls the server."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc.port}") as channel:
        yield ClassifierStub(channel)


@pytest.fixture
async def server(tiny: Path) -> AsyncIterator[Server]:
    """A server of the small bundle."""
    async with running_server(tiny) as running:
        yield running


@pytest.fixture
async def stub(server: Server) -> AsyncIterator["ClassifierAsyncStub"]:
    """A stub that calls it."""
    async with calling(server) as calls:
        yield calls
