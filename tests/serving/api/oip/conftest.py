from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc
import pytest

from protos.open_inference_pb2_grpc import GRPCInferenceServiceStub
from serving.server import Server

if TYPE_CHECKING:
    from protos.open_inference_pb2_grpc import GRPCInferenceServiceAsyncStub


@asynccontextmanager
async def inferring(server: Server) -> AsyncIterator["GRPCInferenceServiceAsyncStub"]:
    """A stub that calls the server."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc.port}") as channel:
        yield GRPCInferenceServiceStub(channel)


@pytest.fixture
async def oip(server: Server) -> AsyncIterator["GRPCInferenceServiceAsyncStub"]:
    """A stub that calls the server of the small bundle."""
    async with inferring(server) as calls:
        yield calls
