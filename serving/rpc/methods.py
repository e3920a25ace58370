"""What runs for each call: the servicer's method between its messages."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from serving.errors import InternalError, InvalidRequestError
from serving.rpc.call import AbortedError, RpcCall

Answer = Callable[[Any, RpcCall], None]


class ServicerMethod:
    """A servicer's coroutine, of any of gRPC's four kinds, as generated code registers it.

    Args:
        handler: the method, and what it knows of its messages.
        most_bytes: size of the largest request.
    """

    def __init__(self, handler: "grpc.RpcMethodHandler[Any, Any]", most_bytes: int) -> None:
        self.path = ""  # known once it is registered
        self.reads_stream: bool = handler.request_streaming
        self.writes_stream: bool = handler.response_streaming
        self._most_bytes = most_bytes
        self._parse: Any = handler.request_deserializer
        self.serialize: Any = handler.response_serializer
        self._run: Any = (
            handler.unary_unary
            or handler.unary_stream
            or handler.stream_unary
            or handler.stream_stream
        )

    def parse(self, message: bytes) -> Any:  # any thread
        """Return a request.

        Raises:
            InvalidRequestError: it is too large, or none of the method's.
        """
        self._check_size(message)
        try:
            return self._parse(message)
        except (DecodeError, UnicodeDecodeError):  # the second one from protobuf in Python
            raise InvalidRequestError("the request is not a message of this method") from None

    def _check_size(self, message: bytes) -> None:
        if len(message) > self._most_bytes:
            raise InvalidRequestError(
                f"the request has {len(message)} bytes; it may have at most {self._most_bytes}"
            )

    def receive(self, call: RpcCall, request: bytes | None) -> None:  # gRPC's thread
        """Answer a call in a task of its own."""
        call.run(partial(self._answer, call, request))

    async def _answer(self, call: RpcCall, request: bytes | None) -> None:  # event loop
        try:
            await self._respond(call, request)
        except asyncio.CancelledError:
            call.fail(grpc.StatusCode.CANCELLED, "the server has cancelled the call")
            raise
        except Exception as error:  # noqa: BLE001 - the call ends with it
            _fail(call, error)

    async def _respond(self, call: RpcCall, request: bytes | None) -> None:  # event loop
        argument = call.requests() if self.reads_stream else _parsed(self, request)
        result = self._run(argument, call)
        if self.writes_stream:
            await _write(call, result)
            call.finish()
        else:
            call.finish(await result)


class BytesMethod(ServicerMethod):
    """A coroutine that takes and writes bytes."""

    def __init__(self, handler: "grpc.RpcMethodHandler[Any, Any]") -> None:
        super().__init__(handler, most_bytes=0)
        self.serialize = bytes

    def parse(self, message: bytes) -> bytes:  # any thread
        """Return the message."""
        return message


class DirectMethod(ServicerMethod):
    """A method of one request and one response that is called on gRPC's thread.

    It gets the bytes of its request. It must not block, and ends the call with `finish` or `fail`,
    at once or later, on any thread.

    Args:
        handler: knows the messages.
        answer: the method.
    """

    def __init__(self, handler: "grpc.RpcMethodHandler[Any, Any]", answer: Answer) -> None:
        super().__init__(handler, most_bytes=0)
        self._run = answer

    def parse(self, message: bytes) -> bytes:  # any thread
        """Return the message."""
        return message

    def receive(self, call: RpcCall, request: bytes | None) -> None:  # gRPC's thread
        """Call the method."""
        try:
            self._run(_parsed(self, request), call)
        except Exception as error:  # noqa: BLE001 - the call ends with it
            _fail(call, error)


class ForwardedMethod(DirectMethod):
    """A method of one request and one response, both bytes, which is answered elsewhere.

    Args:
        handler: knows the messages.
        answer: the method; it gets a request within the bounds.
        most_bytes: size of the largest request.
    """

    def __init__(
        self, handler: "grpc.RpcMethodHandler[Any, Any]", answer: Answer, most_bytes: int
    ) -> None:
        super().__init__(handler, answer)
        self._most_bytes, self.serialize = most_bytes, bytes

    def parse(self, message: bytes) -> bytes:  # any thread
        """Return the message; raise `InvalidRequestError` if it is too large."""
        self._check_size(message)
        return message


def _parsed(method: ServicerMethod, request: bytes | None) -> Any:
    if request is None:
        raise InvalidRequestError("the call ended before its request had come")
    return method.parse(request)


def _fail(call: RpcCall, error: Exception) -> None:
    """End a call with the status of what its method raised."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]  # a task group wraps what ends it
    if isinstance(error, InvalidRequestError):
        call.fail(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    elif isinstance(error, NotImplementedError):
        call.fail(grpc.StatusCode.UNIMPLEMENTED, "the server does not have this method")
    elif not isinstance(error, AbortedError):
        internal = InternalError.logged(error, call.request_id)
        call.fail(grpc.StatusCode.INTERNAL, str(internal))


async def _write(call: RpcCall, result: Any) -> None:
    """Await a method that writes by itself, or write what a generator yields."""
    if hasattr(result, "__aiter__"):
        async with aclosing(result) as responses:
            async for response in responses:
                await call.write(response)
    else:
        await result
