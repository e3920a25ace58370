"""A server for the servicers that generated code (`add_…Servicer_to_server`) registers."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from functools import partial
from typing import Any

import grpc

from serving.access.guard import Check, Guard
from serving.access.peer import grpc_name
from serving.errors import PermissionDeniedError, UnauthenticatedError
from serving.lifecycle import background
from serving.memory import release_freed_memory
from serving.record.recorder import Recorder
from serving.rpc import private_grpc
from serving.rpc.bounds import BOUNDS, Bounds
from serving.rpc.call import RpcCall
from serving.rpc.methods import Answer, BytesMethod, DirectMethod, ForwardedMethod, ServicerMethod
from serving.rpc.streams import Streams
from serving.rpc.transfers import Transfers

logger = logging.getLogger(__name__)

REFUSALS: dict[type[Exception], grpc.StatusCode] = {
    UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
}
# How long a drain goes on refusing calls after the last answer. A client in a loop sends its next
# call at once; a server that is stopping would end that as CANCELLED, without a reason.
LAST_REFUSALS_S = 0.1
# How long calls in flight may hold back GOAWAY, in seconds.
LONGEST_REFUSALS_S = 5.0
# How often calls are looked at that may take too long, in seconds.
SWEEP_S = 0.5
# Messages of so many bytes leave behind what is worth giving back, and of so many in that time need
# it again.
BURST_BYTES, BUSY_BYTES = 64 * 2**20, 2**20


class DirectServer:
    """Runs servicers whose methods are coroutines, as `grpc.aio` does, and direct methods.

    Args:
        options: gRPC's.
        bounds: what callers may take.
        guard: asks who calls; None: nobody does.
        recorder: begins the records of calls; None if nobody wants any.

    Attributes:
        in_flight: how many calls are not over.
        loop: runs the methods.
        receptions: requests that are on their way.
        answers: answers likewise.
        most_bytes: what a request may hold.
    """

    loop: asyncio.AbstractEventLoop

    def __init__(
        self,
        options: Sequence[tuple[str, int]],
        bounds: Bounds = BOUNDS,
        guard: Guard | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._guard, self.recorder = guard, recorder
        self._bounds, self.most_bytes = bounds, bounds.message_bytes
        self._server = private_grpc.Server(options)
        patience_s, most = bounds.patience_s, bounds.transfer_bytes
        self.receptions = Transfers(patience_s, most, _end_reception)
        self.answers = Transfers(patience_s, most, _end_answer)
        self._streams = Streams(bounds.streams, patience_s)
        self._watches = Streams(bounds.watches, patience_s)
        self._sweeping: asyncio.Task[None] | None = None
        # Of messages that came, went or were given up; likewise when memory was last given back.
        self._bytes = self._bytes_released = 0
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._methods: dict[str, ServicerMethod] = {}
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
            self._methods[path] = ServicerMethod(handler, self._bounds.request_bytes)
            self._server.register(path)

    def add_direct_method(self, path: str, answer: Answer) -> None:
        """Have a method that is registered answered on gRPC's thread, see `DirectMethod`."""
        self._methods[path] = DirectMethod(self._handlers[path], answer)

    def give_bytes(self, path: str) -> None:
        """Have a method that is registered take and write bytes, not messages."""
        self._methods[path] = BytesMethod(self._handlers[path])

    def forward(self, path: str, answer: Answer) -> None:
        """Have a method that is registered answered elsewhere, see `ForwardedMethod`."""
        most_bytes = self._bounds.request_bytes
        self._methods[path] = ForwardedMethod(self._handlers[path], answer, most_bytes)

    def add_insecure_port(self, address: str) -> int:
        """Bind an address; return its port. RuntimeError if that fails."""
        return self._server.bind(address)

    @property
    def methods(self) -> Set[str]:
        """What is answered, each as `/service/method`."""
        return self._methods.keys()

    def add_secure_port(self, address: str, credentials: grpc.ServerCredentials) -> int:
        """Bind an address for TLS; return its port. RuntimeError if that fails."""
        return self._server.bind(address, credentials)

    def start(self) -> None:
        """Answer on the event loop that runs now."""
        self.loop = asyncio.get_running_loop()
        self._server.start()
        self._sweeping = background(self._sweep())
        for path, method in self._methods.items():
            method.path = path
            check = self._guard.of_method(path) if self._guard else None
            self._server.accept(path, partial(self._begin, method, check))

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
        if self._sweeping:
            self._sweeping.cancel()

    def carried(self, nbytes: int) -> None:  # gRPC's thread
        """Note that a message has come, gone or been given up."""
        self._bytes += nbytes

    def over(self, call: RpcCall) -> None:  # gRPC's thread
        """Note that no operation of a call is left."""
        self.receptions.over(call)
        self._streams.leave(call)
        self._watches.leave(call)
        self.in_flight -= 1
        if call.record:
            call.record.close()
        if self._refusal and not self.in_flight:
            self.loop.call_soon_threadsafe(self._idle.set)

    def _begin(  # gRPC's thread
        self, method: ServicerMethod, check: Check | None, event: Any
    ) -> RpcCall:
        self.in_flight += 1
        call = RpcCall(event, self, method)
        if self._refusal:
            call.fail(grpc.StatusCode.UNAVAILABLE, self._refusal)
        elif check and not _is_let_in(call, check, event):
            pass  # it has failed, and no message of it is read
        elif method.reads_stream:
            self._begin_stream(self._streams, call)
        elif method.writes_stream:
            self._begin_stream(self._watches, call)
        else:
            call.begin()
        return call

    def _begin_stream(self, streams: Streams, call: RpcCall) -> None:  # gRPC's thread
        loser = streams.enter(call)
        if loser is not call:
            call.begin()
        if loser is call:
            call.fail(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{streams.most} streams are open, which is the most (--max-streams)",
            )
        elif loser:
            loser.fail(
                grpc.StatusCode.UNAVAILABLE,
                f"the stream was the one that has been quiet for longest, and {streams.most} "
                f"others are open (--max-streams)",
            )

    async def _sweep(self) -> None:
        """End the calls that take too long; give memory back after a burst."""
        while True:
            before = self._bytes
            await asyncio.sleep(min(SWEEP_S, self._bounds.patience_s))
            self.receptions.sweep()
            self.answers.sweep()
            is_busy = self._bytes - before > BUSY_BYTES
            if not is_busy and self._bytes - self._bytes_released > BURST_BYTES:
                self._bytes_released = self._bytes
                await asyncio.to_thread(release_freed_memory)


def _is_let_in(call: RpcCall, check: Check, event: Any) -> bool:  # gRPC's thread
    """Find out who calls; return False if the call has failed because of that."""
    try:
        authorization = private_grpc.header(event, "authorization")
        call.identity = check.identify(authorization, partial(_certificate_name, event))
        if call.record and call.identity:
            call.record.caller = call.identity.name
    except (UnauthenticatedError, PermissionDeniedError) as error:
        logger.warning("%s is refused to %s: %s", check.what, call.caller, error)
        if call.record and isinstance(error, PermissionDeniedError):
            call.record.caller = error.caller
        call.fail(REFUSALS[type(error)], str(error))
    return call.identity is not None


def _certificate_name(event: Any) -> str | None:
    return grpc_name(private_grpc.auth_context(event))


def _end_reception(call: RpcCall, code: grpc.StatusCode, reason: str) -> None:
    call.fail(code, f"the request has not come whole: {reason}")


def _end_answer(call: RpcCall, code: grpc.StatusCode, reason: str) -> None:
    call.cut_off(code, f"the answer has not been read: {reason}")
