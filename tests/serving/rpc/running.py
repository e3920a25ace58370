"""A real server on a free port, its methods, and a channel to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from serving.rpc.bounds import BOUNDS, Bounds
from serving.rpc.server import DirectServer

SERVICE = "test.Service"
Handler = Any
# One connection per channel, so that closing a channel closes its connection.
CHANNEL = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]


@dataclass
class Running:
    """A server that runs, and a channel to it."""

    server: DirectServer
    port: int
    channel: grpc.aio.Channel

    def unary_unary(self, name: str = "Method") -> Any:
        """Return the callable of a method of bytes."""
        return self.channel.unary_unary(f"/{SERVICE}/{name}")

    def unary_stream(self, name: str = "Method") -> Any:
        """Return the callable of a method of bytes."""
        return self.channel.unary_stream(f"/{SERVICE}/{name}")

    def stream_unary(self, name: str = "Method") -> Any:
        """Return the callable of a method of bytes."""
        return self.channel.stream_unary(f"/{SERVICE}/{name}")

    def stream_stream(self, name: str = "Method") -> Any:
        """Return the callable of a method of bytes."""
        return self.channel.stream_stream(f"/{SERVICE}/{name}")


@dataclass
class Patient:
    """A method of every kind that waits until it is released, or cancelled."""

    started: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    calls: int = 0

    async def __call__(self, _request: Any, _context: Any) -> bytes:
        """Answer once released."""
        self.calls += 1
        self.started.set()
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return b"patient"


def unary(handler: Handler) -> "grpc.RpcMethodHandler[Any, Any]":
    """Make a method of bytes from one request to one response."""
    return grpc.unary_unary_rpc_method_handler(handler, bytes, bytes)


@asynccontextmanager
async def running(
    options: tuple[tuple[str, int], ...] = (),
    *,
    direct: bool = False,
    bounds: Bounds = BOUNDS,
    **methods: "grpc.RpcMethodHandler[Any, Any]",
) -> AsyncIterator[Running]:
    """Run a server of these methods; stop it at the end.

    If `direct`, they are answered on gRPC's thread.
    """
    server = DirectServer([("grpc.so_reuseport", 0), *options], bounds)
    server.add_registered_method_handlers(SERVICE, methods)
    if direct:
        for name, handler in methods.items():
            answer: Any = handler.unary_unary
            server.add_direct_method(f"/{SERVICE}/{name}", answer)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    async with asyncio.timeout(120):
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", CHANNEL) as channel:
                yield Running(server, port, channel)
        finally:
            await server.stop(0)
        assert not server.in_flight


async def code_of(call: Any) -> grpc.StatusCode:
    """Return the status of a call that fails."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    raise AssertionError("the call has succeeded")
