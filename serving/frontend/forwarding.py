"""Calls that classify nothing: a front end forwards them, and the engine process answers."""

import asyncio
import itertools
import json
import struct
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Never, cast

import grpc

from protos.classifier_pb2_grpc import add_ClassifierServicer_to_server
from protos.open_inference_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from serving.access.identity import Identity
from serving.api.call import Metadata
from serving.api.classifier import Classifier
from serving.api.oip.service import OpenInference
from serving.callers import OTHER_REQUEST_BYTES
from serving.frontend.link import frame
from serving.frontend.messages import CALL, Kind
from serving.record.record import Record
from serving.rpc.call import AbortedError, RpcCall
from serving.rpc.methods import ServicerMethod

HEAD = struct.Struct("<IHHH")  # call, bytes of the path, of the request's id, of the caller's name
STATUS = struct.Struct("<IBI")  # call, gRPC's number of the status, bytes of its details in JSON
CODES = {code.value[0]: code for code in grpc.StatusCode}
OK: int = grpc.StatusCode.OK.value[0]


class Forwarding:
    """The front end's side.

    Args:
        send: sends a message to the engine; any thread may call it.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send, self._numbers = send, itertools.count()
        self._calls: dict[int, RpcCall] = {}

    def forward(self, path: str, request: bytes, call: RpcCall) -> None:  # gRPC's thread
        """Have a call answered."""
        number = next(self._numbers) & 0xFFFFFFFF
        self._calls[number] = call
        texts = [text.encode(errors="replace") for text in (path, call.request_id, call.caller)]
        head = HEAD.pack(number, *map(len, texts))
        call.on_leave = lambda: self._leave(number)
        self._send(frame(Kind.CALL, head, *texts, request))

    def returned(self, body: memoryview) -> None:  # the exchange's thread
        """Take the answer to a call."""
        number, status, size = STATUS.unpack_from(body)
        if not (call := self._calls.pop(number, None)):
            return
        end = STATUS.size + size
        if status == OK:
            call.finish(bytes(body[end:]))
        else:
            details, metadata = json.loads(bytes(body[STATUS.size : end]))
            call.fail(CODES[status], details, [(name, value) for name, value in metadata])

    def _leave(self, number: int) -> None:  # gRPC's thread
        if self._calls.pop(number, None):
            self._send(frame(Kind.CANCEL, CALL.pack(number)))


class Answering:
    """The engine's side of one front end; on the event loop, but for what says otherwise.

    Args:
        methods: what is answered, by path.
        send: sends a message to the front end; any thread may call it.
    """

    def __init__(
        self, methods: Mapping[str, ServicerMethod], send: Callable[[bytes], None]
    ) -> None:
        self._methods, self._send = methods, send
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def call(self, body: memoryview) -> None:  # the exchange's thread
        """Answer a call."""
        number, *sizes = HEAD.unpack_from(body)
        texts, at = [], HEAD.size
        for size in sizes:
            texts.append(str(body[at : at + size], "utf-8"))
            at += size
        path, request_id, caller = texts
        call = ForwardedCall(self, number, self._methods[path], request_id, caller)
        # Its `receive` asks for a servicer's context, as much of it as methods of this kind use.
        self._methods[path].receive(cast("RpcCall", call), bytes(body[at:]))

    def cancel(self, number: int) -> None:  # the exchange's thread
        """Cancel a call whose caller has left."""
        self._loop.call_soon_threadsafe(self._cancel, number)

    def close(self) -> None:
        """Cancel all calls."""
        for number in tuple(self._tasks):
            self._cancel(number)

    def run(self, number: int, work: Callable[[], Coroutine[Any, Any, None]]) -> None:  # any thread
        """Run what answers a call."""
        self._loop.call_soon_threadsafe(self._run, number, work)

    def finish(self, number: int, message: bytes) -> None:
        """End a call with its response."""
        self._send(frame(Kind.RETURN, STATUS.pack(number, OK, 0), message))

    def fail(self, number: int, code: grpc.StatusCode, details: str, metadata: Metadata) -> None:
        """End a call with an error."""
        told = json.dumps([details, [*metadata]]).encode()
        self._send(frame(Kind.RETURN, STATUS.pack(number, code.value[0], len(told)), told))

    def _run(self, number: int, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = self._loop.create_task(work())
        self._tasks[number] = task
        task.add_done_callback(lambda _: self._tasks.pop(number, None))

    def _cancel(self, number: int) -> None:
        if task := self._tasks.get(number):
            task.cancel()


class ForwardedCall:
    """The context of a servicer's method, of a call that a front end has; see `api.call.Call`."""

    identity: Identity | None = None
    record: Record | None = None  # the front end has it
    deadline_s: float | None = None  # likewise

    def __init__(
        self,
        answering: Answering,
        number: int,
        method: ServicerMethod,
        request_id: str,
        caller: str,
    ) -> None:
        self._answering, self._number, self._method = answering, number, method
        self.request_id, self.caller = request_id, caller

    def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine on the event loop; it is cancelled when the caller leaves."""
        self._answering.run(self._number, work)

    def finish(self, response: Any) -> None:
        """End the call with OK and its only response."""
        self._answering.finish(self._number, self._method.serialize(response))

    def fail(self, code: grpc.StatusCode, details: str, metadata: Metadata = ()) -> None:
        """End the call with an error."""
        self._answering.fail(self._number, code, details, metadata)

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> Never:
        """End the call with an error, and its handler."""
        self.fail(code, details, trailing_metadata)
        raise AbortedError


class Methods(dict[str, ServicerMethod]):
    """The methods of both services, by path, as generated code registers them."""

    def __init__(self, classifier: Classifier, open_inference: OpenInference) -> None:
        super().__init__()
        server = cast("Any", self)  # generated code is typed for grpcio's own servers and servicers
        add_ClassifierServicer_to_server(cast("Any", classifier), server)
        add_GRPCInferenceServiceServicer_to_server(cast("Any", open_inference), server)

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing: generated code registers the same methods by name as well."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]
    ) -> None:
        """Answer the methods of a service."""
        for name, handler in handlers.items():
            self[f"/{service}/{name}"] = ServicerMethod(handler, OTHER_REQUEST_BYTES)
