"""A server that takes what protoc's `add_…Servicer_to_server` registers."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc

from serving.rpc.call import RpcCall
from serving.rpc.completion_queue import Core
from serving.rpc.methods import Admits, Answer, DirectMethod, ServicerMethod


class DirectServer:
    """Runs servicers whose methods are coroutines, as `grpc.aio` does, and direct methods.

    `arrived` counts the calls that reached it. While `may_rest` says so, calls may wait for some
    milliseconds before they are looked at.
    """

    def __init__(
        self,
        options: Sequence[tuple[str, int]],
        may_rest: Callable[[], bool] = lambda: False,
    ) -> None:
        self._core = Core(options, may_rest)
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._methods: dict[str, ServicerMethod] = {}
        self.arrived = 0

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
            self._core.register(path)

    def add_direct_method(self, path: str, answer: Answer, admits: Admits) -> None:
        """Have a method that is registered answered on gRPC's thread, see `DirectMethod`."""
        self._methods[path] = DirectMethod(self._handlers[path], answer, admits)

    def add_insecure_port(self, address: str) -> int:
        """Bind an address; return its port. RuntimeError where that fails."""
        return self._core.server.add_insecure_port(address)

    def start(self) -> None:
        """Answer on the event loop that runs now."""
        loop = asyncio.get_running_loop()
        self._core.server.start()
        for path, method in self._methods.items():

            def to_call(event: Any, method: ServicerMethod = method) -> RpcCall:
                self.arrived += 1
                return RpcCall(event, loop, method, self._core.wake)

            self._core.accept(path, to_call)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, cut off after the grace period what is left; return at the end."""
        await asyncio.to_thread(self._core.server.stop(grace_s).wait)
