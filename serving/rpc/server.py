"""A server for the servicers that generated code (`add_…Servicer_to_server`) registers."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import grpc

from serving.rpc import private_grpc
from serving.rpc.call import Method, RpcCall
from serving.rpc.methods import Answer, DirectMethod, ServicerMethod

# How long a drain goes on refusing calls after the last answer. A client in a loop sends its next
# call at once; a server that is stopping would end that as CANCELLED, without a reason.
LAST_REFUSALS_S = 0.1
# How long calls in flight may hold back GOAWAY, in seconds.
LONGEST_REFUSALS_S = 5.0


class DirectServer:
    """Runs servicers whose methods are coroutines, as `grpc.aio` does, and direct methods.

    Args:
        options: gRPC's.

    Attributes:
        in_flight: how many calls are not over.
    """

    def __init__(self, options: Sequence[tuple[str, int]]) -> None:
        self._server = private_grpc.Server(options)
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._methods: dict[str, Method] = {}
        self._refusal = ""  # the details of the error with which new calls end; empty: accept them
        self._idle = asyncio.Event()
        self.in_flight = 0

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing: generated code registers the same methods by name as well."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]
    ) -> None:
        """Answer the methods of a service."""
        for name, handler in handlers.items():
            path = f"/{service}/{name}"
            self._handlers[path] = handler
            self._methods[path] = ServicerMethod(handler)
            self._server.register(path)

    def add_direct_method(self, path: str, answer: Answer) -> None:
        """Have a method that is registered answered on gRPC's thread, see `DirectMethod`."""
        self._methods[path] = DirectMethod(self._handlers[path], answer)

    def add_insecure_port(self, address: str) -> int:
        """Bind an address; return its port. RuntimeError if that fails."""
        return self._server.bind(address)

    def start(self) -> None:
        """Answer on the event loop that runs now."""
        self._loop = asyncio.get_running_loop()
        self._server.start()
        for path, method in self._methods.items():
            self._server.accept(path, partial(self._begin, method))

    async def drain(self, grace_s: float, details: str) -> None:
        """Refuse new calls as UNAVAILABLE, finish those in flight, then stop.

        A client has read every answer when its connection is closed: `stop` sends GOAWAY after
        the answers, and waits for the client's acknowledgement. If GOAWAY came before, the
        connection would close with its last answer, which is lost if the client writes to the
        connection before it reads from it.

        Until then clients stay connected and meet refusals. So GOAWAY waits for calls in flight
        no longer than `LONGEST_REFUSALS_S`: other clients must not suffer for a call that hangs.
        """
        end = time.monotonic() + grace_s
        self._refusal = details
        # Read after `_refusal` is set; gRPC's thread does both in the other order.
        if not self.in_flight:
            self._idle.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(grace_s, LONGEST_REFUSALS_S)):
                await self._idle.wait()
                await asyncio.sleep(LAST_REFUSALS_S)
        await self.stop(max(end - time.monotonic(), 0.0))

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, cut off after the grace period what is left; return at the end."""
        await asyncio.to_thread(self._server.stop(grace_s).wait)

    def _begin(self, method: Method, event: Any) -> RpcCall:  # gRPC's thread
        self.in_flight += 1
        call = RpcCall(event, self._loop, method, self._over)
        if self._refusal:
            call.refuse(self._refusal)
        else:
            call.begin()
        return call

    def _over(self) -> None:  # gRPC's thread
        self.in_flight -= 1
        if self._refusal and not self.in_flight:
            self._loop.call_soon_threadsafe(self._idle.set)
