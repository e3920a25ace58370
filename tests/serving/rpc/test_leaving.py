"""Callers that leave: their handlers are cancelled, and the server goes on."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from serving.rpc import private_grpc
from serving.rpc.call import RpcCall
from tests.serving.rpc.running import SERVICE, Patient, Running, code_of, running, unary
from tests.support.http2 import Http2, message
from tests.support.serving import until


async def one_response(handler: Any) -> AsyncIterator[bytes]:
    """Stream what a handler answers."""
    yield b"first"
    yield await handler


def methods(handler: Any) -> "dict[str, grpc.RpcMethodHandler[Any, Any]]":
    """Make a method of each kind that leaves its answer to a handler."""

    def stream(request: Any, context: RpcCall) -> AsyncIterator[bytes]:
        return one_response(handler(request, context))

    return {
        "UnaryUnary": unary(handler),
        "UnaryStream": grpc.unary_stream_rpc_method_handler(stream, bytes, bytes),
        "StreamUnary": grpc.stream_unary_rpc_method_handler(handler, bytes, bytes),
        "StreamStream": grpc.stream_stream_rpc_method_handler(stream, bytes, bytes),
    }


CALLS: dict[str, Callable[[Running, float | None], Any]] = {
    "unary, unary": lambda it, limit: it.unary_unary("UnaryUnary")(b"", timeout=limit),
    "unary, stream": lambda it, limit: it.unary_stream("UnaryStream")(b"", timeout=limit),
    "stream, unary": lambda it, limit: it.stream_unary("StreamUnary")(timeout=limit),
    "stream, stream": lambda it, limit: it.stream_stream("StreamStream")(timeout=limit),
}
kinds = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@kinds
async def test_cancel(call: Callable[[Running, float | None], Any]) -> None:
    patient = Patient()
    async with running(**methods(patient)) as it:
        calling = call(it, None)
        await patient.started.wait()
        calling.cancel()
        await patient.cancelled.wait()
        assert await calling.code() is grpc.StatusCode.CANCELLED
        await until(lambda: not it.server.in_flight)


@kinds
async def test_the_deadline_passes(call: Callable[[Running, float | None], Any]) -> None:
    patient = Patient()
    async with running(**methods(patient)) as it:
        calling = call(it, 0.3)
        await patient.cancelled.wait()
        assert await calling.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: not it.server.in_flight)


@kinds
async def test_the_connection_is_closed(call: Callable[[Running, float | None], Any]) -> None:
    patient = Patient()
    async with running(**methods(patient)) as it:
        calling = call(it, None)
        await patient.started.wait()
        await it.channel.close()
        await patient.cancelled.wait()
        await until(lambda: not it.server.in_flight)
        assert calling.done()


async def test_a_caller_that_leaves_with_its_request_unread() -> None:
    async def read(requests: AsyncIterator[bytes], _context: RpcCall) -> bytes:
        started.set()
        async for _ in requests:
            pass
        raise AssertionError("a stream that breaks off has no answer")

    started = asyncio.Event()
    async with running(Method=grpc.stream_unary_rpc_method_handler(read, bytes, bytes)) as it:
        calling = it.stream_unary()()
        await calling.write(b"half")
        await started.wait()
        calling.cancel()
        await until(lambda: not it.server.in_flight)


async def test_a_generator_is_closed_and_no_response_is_written_any_more() -> None:
    closed = asyncio.Event()

    async def generate(_request: bytes, _context: RpcCall) -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(100_000)
        finally:
            closed.set()

    async with running(Method=grpc.unary_stream_rpc_method_handler(generate, bytes, bytes)) as it:
        calling = it.unary_stream()(b"")
        await calling.read()
        calling.cancel()
        await closed.wait()


async def test_a_handler_that_does_not_heed_its_cancellation() -> None:
    left, seen = asyncio.Event(), asyncio.Event()
    patient = Patient()

    async def stubborn(request: bytes, context: RpcCall) -> None:
        with pytest.raises(asyncio.CancelledError):
            await patient(request, context)
        await left.wait()
        context.fail(grpc.StatusCode.INTERNAL, "too late")
        with pytest.raises(asyncio.CancelledError):
            await context.write(b"too late")
        seen.set()

    handler = grpc.unary_stream_rpc_method_handler(stubborn, bytes, bytes)
    async with running(Method=handler) as it:
        calling = it.unary_stream()(b"")
        await patient.started.wait()
        calling.cancel()
        await until(lambda: not it.server.in_flight)
    left.set()  # its server has stopped
    await seen.wait()


async def test_a_caller_that_leaves_in_the_middle_of_its_request() -> None:
    async def never(_request: bytes, _context: RpcCall) -> bytes:
        raise AssertionError("there is no request")

    async with running(Method=unary(never)) as it:
        with Http2(it.port) as client:
            client.write(client.call(f"/{SERVICE}/Method"), message(2000, bytes(1000)))
            await until(lambda: it.server.in_flight == 1)
        await until(lambda: not it.server.in_flight)


async def test_a_direct_method_is_told_when_its_caller_leaves() -> None:
    waiting, left = threading.Event(), threading.Event()

    def wait(_request: bytes, call: RpcCall) -> None:
        call.on_leave = left.set
        waiting.set()

    async with running(direct=True, Method=unary(wait)) as it:
        calling = it.unary_unary()(b"")
        await asyncio.to_thread(waiting.wait, 30)
        assert not left.is_set()
        calling.cancel()
        assert await asyncio.to_thread(left.wait, 30)


async def test_the_leaving_of_a_caller_that_is_answered_at_once_is_not_awaited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches: list[int] = []
    start_batch = private_grpc.start_batch

    def count(call: object, operations: tuple[object, ...], tag: Any) -> None:
        batches.append(len(operations))
        start_batch(call, operations, tag)

    monkeypatch.setattr(private_grpc, "start_batch", count)
    refuse = unary(lambda _request, call: call.fail(grpc.StatusCode.UNAVAILABLE, "no"))
    async with running(direct=True, Method=refuse) as it:
        assert await code_of(it.unary_unary()(b"")) is grpc.StatusCode.UNAVAILABLE
    # The request; then the metadata, the status, and the end of the call.
    assert batches == [1, 3]
