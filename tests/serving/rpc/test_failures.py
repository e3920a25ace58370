"""Calls that end with an error; the server goes on after each."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from typing import Any, Never

import grpc
import pytest
from grpc_health.v1 import health_pb2

from serving.rpc.bounds import Bounds
from serving.rpc.call import RpcCall
from tests.serving.rpc.running import Running, running, unary

Code = grpc.StatusCode
PARSE = health_pb2.HealthCheckRequest.FromString


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


async def failure_of(method: Any) -> grpc.aio.AioRpcError:
    """Return how a unary method fails; see that the server then answers another."""

    async def well(request: bytes, _context: RpcCall) -> bytes:
        return request

    async with running(Method=unary(method), Well=unary(well)) as it:
        error = await failure(it.unary_unary()(b"", timeout=20))
        assert await it.unary_unary("Well")(b"well") == b"well"
    return error


async def test_abort_gives_code_details_and_metadata() -> None:
    async def abort(_request: bytes, context: RpcCall) -> Never:
        metadata = (("retry", "5"), ("raw-bin", b"\x00\xff"))
        await context.abort(Code.NOT_FOUND, "введено «✗»\n", metadata)  # type: ignore[arg-type]

    error = await failure_of(abort)
    assert (error.code(), error.details()) == (Code.NOT_FOUND, "введено «✗»\n")
    metadata = dict(error.trailing_metadata())
    assert metadata.items() > {"retry": "5", "raw-bin": b"\x00\xff"}.items()


async def test_abort_of_a_stream_comes_after_its_responses() -> None:
    async def abort(_request: bytes, context: RpcCall) -> AsyncIterator[bytes]:
        yield b"one"
        await context.abort(Code.ABORTED)

    async with running(Method=grpc.unary_stream_rpc_method_handler(abort, bytes, bytes)) as it:
        call = it.unary_stream()(b"")
        assert await call.read() == b"one"
        assert (await failure(call.read())).code() is Code.ABORTED


async def test_the_first_of_two_statuses_counts() -> None:
    async def abort_twice(_request: bytes, context: RpcCall) -> None:
        try:
            await context.abort(Code.NOT_FOUND, "first")
        finally:
            await context.abort(Code.INTERNAL, "second")

    assert (await failure_of(abort_twice)).details() == "first"


@pytest.mark.parametrize("words", ["words", "\udc80"])
async def test_an_exception_is_logged_and_told_as_an_id(
    words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_request: bytes, _context: RpcCall) -> Never:
        raise ValueError(words)

    error = await failure_of(fail)
    assert error.code() is Code.INTERNAL
    assert re.fullmatch(r"internal error \(id [\w-]+\)", error.details() or "")
    assert str(error.details()) in caplog.text
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError]


async def test_a_method_that_is_not_implemented() -> None:
    async def fail(_request: bytes, _context: RpcCall) -> Never:
        raise NotImplementedError

    assert (await failure_of(fail)).code() is Code.UNIMPLEMENTED


async def test_a_handler_that_is_cancelled_by_itself() -> None:
    async def cancelled(_request: bytes, _context: RpcCall) -> Never:
        raise asyncio.CancelledError

    assert (await failure_of(cancelled)).code() is Code.CANCELLED


async def test_a_response_that_is_none_of_the_method(caplog: pytest.LogCaptureFixture) -> None:
    async def wrong(_request: bytes, _context: RpcCall) -> str:
        return "text"

    assert (await failure_of(wrong)).code() is Code.INTERNAL
    assert "TypeError" in caplog.text


async def test_metadata_that_is_no_text(caplog: pytest.LogCaptureFixture) -> None:
    async def abort(_request: bytes, context: RpcCall) -> None:
        await context.abort(Code.NOT_FOUND, "", (("retry", 5),))  # type: ignore[arg-type]

    assert (await failure_of(abort)).code() is Code.INTERNAL
    assert "TypeError" in caplog.text


@pytest.mark.parametrize("path", ["/test.Service/Other", "/other.Service/Method"])
async def test_an_unknown_method(path: str, ran: list[bytes], bounded: Running) -> None:
    error = await failure(bounded.channel.unary_unary(path)(b""))
    assert error.code() is Code.UNIMPLEMENTED
    assert not ran


async def test_a_request_that_is_no_message(ran: list[bytes], bounded: Running) -> None:
    error = await failure(bounded.unary_unary()(b"\xff\xff"))
    assert error.code() is Code.INVALID_ARGUMENT
    assert error.details() == "the request is not a message of this method"
    assert not ran


async def test_a_stream_with_a_request_that_is_no_message(bounded: Running) -> None:
    error = await failure(bounded.stream_unary("Stream")(iter([b"", b"\xff\xff"])))
    assert error.code() is Code.INVALID_ARGUMENT


async def test_a_request_that_is_too_large(ran: list[bytes], bounded: Running) -> None:
    error = await failure(bounded.unary_unary()(bytes(1001)))
    assert error.code() is Code.RESOURCE_EXHAUSTED
    assert not ran


async def test_a_request_that_is_larger_than_its_method_needs() -> None:
    async def echo(request: bytes, _context: RpcCall) -> bytes:
        return request

    async with running(bounds=Bounds(request_bytes=10), Method=unary(echo)) as it:
        error = await failure(it.unary_unary()(bytes(11)))
        assert error.code() is Code.INVALID_ARGUMENT
        assert error.details() == "the request has 11 bytes; it may have at most 10"
        assert await it.unary_unary()(bytes(10)) == bytes(10)


async def test_a_call_without_its_request(ran: list[bytes], bounded: Running) -> None:
    error = await failure(bounded.stream_unary("Method")(iter([])))
    assert error.code() is Code.INVALID_ARGUMENT
    assert not ran


async def test_a_response_that_is_too_large() -> None:
    async def large(_request: bytes, _context: RpcCall) -> bytes:
        return bytes(1001)

    async with running((("grpc.max_send_message_length", 1000),), Method=unary(large)) as it:
        assert (await failure(it.unary_unary()(b""))).code() is Code.RESOURCE_EXHAUSTED


async def test_what_grpc_refuses_fails_the_call(caplog: pytest.LogCaptureFixture) -> None:
    async def read_twice(_requests: AsyncIterator[bytes], context: RpcCall) -> bytes:
        await asyncio.gather(anext(context.requests()), anext(context.requests()))
        return b""

    handler = grpc.stream_unary_rpc_method_handler(read_twice, bytes, bytes)
    async with running(Method=handler) as it:
        assert (await failure(it.stream_unary()())).code() is Code.INTERNAL
    assert "RuntimeError" in caplog.text


@pytest.fixture
def ran() -> list[bytes]:
    """What the handler of `bounded` was given."""
    return []


@pytest.fixture
async def bounded(ran: list[bytes]) -> AsyncIterator[Running]:
    """A server that takes messages of protobuf, of 1000 bytes at most."""

    async def note(request: Any, _context: RpcCall) -> bytes:
        ran.append(request)
        return b""

    async def drain(requests: AsyncIterator[Any], _context: RpcCall) -> bytes:
        return b"%d" % len([request async for request in requests])

    async with running(
        (("grpc.max_receive_message_length", 1000),),
        Method=grpc.unary_unary_rpc_method_handler(note, PARSE, bytes),
        Stream=grpc.stream_unary_rpc_method_handler(drain, PARSE, bytes),
    ) as it:
        yield it


async def test_a_direct_method_that_fails() -> None:
    def answer(request: bytes, call: RpcCall) -> None:
        if request == b"broken":
            raise ValueError("broken")
        call.finish(threading.current_thread().name.encode())

    async with running(direct=True, Method=unary(answer)) as it:
        error = await failure(it.unary_unary()(b"broken"))
        assert error.code() is Code.INTERNAL
        assert "broken" not in (error.details() or "")
        assert b"_serve" in await it.unary_unary()(b"")
