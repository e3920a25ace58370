"""Callers that stall, do not read, or stay: what they hold ends, and the others are answered."""

import asyncio
import gzip
import resource
import socket
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from serving.rpc import options, transfers
from serving.rpc import server as rpc_server
from serving.rpc.bounds import Bounds
from serving.rpc.call import RpcCall
from serving.rpc.transfers import Transfers
from tests.serving.rpc.running import SERVICE, Running, code_of, running, unary
from tests.support.http2 import (
    ACK,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    SETTINGS,
    Http2,
    message,
)
from tests.support.serving import until

Code = grpc.StatusCode
METHOD = f"/{SERVICE}/Method"
LARGE = bytes(10**6)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for calls that take too long at once."""
    monkeypatch.setattr(transfers, "SOON_S", 0.0)
    monkeypatch.setattr(rpc_server, "SWEEP_S", 0.01)


async def echo(request: bytes, _context: RpcCall) -> bytes:
    return request


async def echo_each(requests: AsyncIterator[bytes], _context: RpcCall) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


STREAM = grpc.stream_stream_rpc_method_handler(echo_each, bytes, bytes)


def stall(client: Http2, path: str = METHOD) -> int:
    """Begin a call that sends half of its request."""
    stream = client.call(path)
    client.write(stream, message(2000, bytes(1000)))
    return stream


async def status_of(client: Http2, stream: int) -> bytes:
    """Return the headers that end a call."""

    def read() -> bytes:
        for frame in client.frames():
            if (frame.kind, frame.stream) == (HEADERS, stream) and frame.flags & END_STREAM:
                return frame.payload
        raise AssertionError("the connection is closed")

    return await asyncio.to_thread(read)


async def test_a_request_that_never_becomes_whole() -> None:
    async with running(bounds=Bounds(patience_s=0.2), Method=unary(echo)) as it:
        with Http2(it.port) as client:
            told = await status_of(client, stall(client))
            assert b"the request has not come whole: it takes longer than 0.2 s" in told
            await until(lambda: not it.server.in_flight)
        assert await it.unary_unary()(b"well") == b"well"


async def test_the_slowest_of_too_many_requests() -> None:
    bounds = Bounds(message_bytes=2000, transfer_bytes=4000)
    async with running(bounds=bounds, Method=unary(echo)) as it:
        with Http2(it.port) as client:
            first, *_ = [stall(client) for _ in range(3)]
            told = await status_of(client, first)
            assert b"the slowest of too many at once (--max-transfer-bytes)" in told
            await until(lambda: it.server.in_flight == 2)
            assert await it.unary_unary()(LARGE) == LARGE


async def test_an_answer_that_is_never_read() -> None:
    async with running(bounds=Bounds(patience_s=0.2), Method=unary(echo)) as it:
        with Http2(it.port, receive_window=0) as client:
            stream = client.call(METHOD)
            client.write(stream, message(1000, bytes(1000)), end=True)
            await until(lambda: it.server.in_flight == 1)
            await until(lambda: not it.server.in_flight)


async def test_a_stream_of_which_nothing_is_read() -> None:
    ended = asyncio.Event()

    async def flood(_request: bytes, context: RpcCall) -> None:
        try:
            while True:
                await context.write(LARGE)
        finally:
            ended.set()

    handler = grpc.unary_stream_rpc_method_handler(flood, bytes, bytes)
    async with running(bounds=Bounds(patience_s=0.2), Method=handler) as it:
        with Http2(it.port) as client:
            client.write(client.call(METHOD), message(0), end=True)
            await ended.wait()


async def test_a_stream_too_many_is_refused_while_the_others_are_busy() -> None:
    async with running(bounds=Bounds(streams=2), Method=STREAM) as it:
        calls = [it.stream_stream()() for _ in range(2)]
        for call in calls:
            await call.write(b"")
            await call.read()
        refused = it.stream_stream()()
        assert await refused.code() is Code.RESOURCE_EXHAUSTED
        assert await refused.details() == "2 streams are open, which is the most (--max-streams)"
        calls[0].cancel()
        await until(lambda: it.server.in_flight == 1)
        assert await again(it) == b"again"


async def test_a_stream_that_is_quiet_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "SOON_S", 60.0)  # else an answer's transfer may end it first
    async with running(bounds=Bounds(streams=1, patience_s=0.0), Method=STREAM) as it:
        quiet = it.stream_stream()()
        await quiet.write(b"")
        await quiet.read()
        assert await again(it) == b"again"
        assert await quiet.code() is Code.UNAVAILABLE
        assert "the one that has been quiet for longest" in await quiet.details()


async def again(it: Running) -> Any:
    """Open a stream and return what it answers."""
    call = it.stream_stream()()
    await call.write(b"again")
    return await call.read()


OPTIONS = tuple(options.options(Bounds(2**25, connections=100)))


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_compressed_messages_are_refused(encoding: str) -> None:
    async with running(OPTIONS, Method=unary(echo)) as it:
        with Http2(it.port) as client:
            stream = client.call(METHOD, [("grpc-encoding", encoding)])
            body = gzip.compress(bytes(10**6))
            client.write(stream, message(len(body), body, compressed=True), end=True)
            assert b"grpc-status\x0212" in await status_of(client, stream)


async def test_what_only_claims_to_be_compressed_is_not_inflated() -> None:
    body = gzip.compress(bytes(10**6))
    async with running(OPTIONS, Method=unary(echo)) as it:
        with Http2(it.port) as client:
            stream = client.call(METHOD)
            client.write(stream, message(len(body), body, compressed=True), end=True)
            assert b"Compression bit set" in await status_of(client, stream)


async def test_300_headers_are_taken() -> None:
    headers = [(f"x-field-{number:03}", f"value{number}") for number in range(300)]
    async with running(OPTIONS, Method=unary(echo)) as it:
        for _ in range(20):  # by gRPC's own rule most of them would be refused by chance
            assert await it.unary_unary()(b"well", metadata=headers) == b"well"
        too_many = [*headers, *((f"{name}-more", value) for name, value in headers)]
        assert await code_of(it.unary_unary()(b"", metadata=too_many)) is Code.RESOURCE_EXHAUSTED


def test_a_message_that_comes_while_others_are_ended_loses_nothing() -> None:
    ended: list[RpcCall] = []
    calls: list[Any] = [object(), object()]

    def end(call: RpcCall, _code: Code, _reason: str) -> None:
        ended.append(call)
        late.over(calls[1])

    late = Transfers(0.0, 10, end)
    for call in calls:
        late.begin(call, 1)
    late.sweep()
    assert ended == calls[:1]


async def test_a_client_that_pings_all_the_time_is_sent_away() -> None:
    async with running(OPTIONS, Method=unary(echo)) as it:
        with Http2(it.port) as client:
            client.send(PING, payload=bytes(8), times=10)
            goaway = await asyncio.to_thread(client.until, GOAWAY)
            assert goaway.payload.endswith(b"too_many_pings")


@pytest.mark.parametrize("calls", [0, 1])
async def test_a_client_may_ping_as_often_as_the_interval_allows(
    calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "PING_INTERVAL_MS", 0)
    async with running(tuple(options.options(Bounds(2**25, connections=100))), Method=STREAM) as it:
        with Http2(it.port) as client:
            for _ in range(calls):
                client.call(METHOD)
            for number in range(20):
                client.send(PING, payload=bytes(7) + bytes((number,)))
                while (answer := await asyncio.to_thread(client.until, PING)).payload[-1] != number:
                    pass
                assert answer.flags & ACK


async def test_connections_have_a_bound() -> None:
    async with running(
        tuple(options.options(Bounds(2**25, connections=2))), Method=unary(echo)
    ) as it:
        with Http2(it.port) as first, Http2(it.port) as second:
            for client in (first, second):
                await asyncio.to_thread(client.until, SETTINGS)
            with socket.create_connection(("127.0.0.1", it.port)) as third:
                assert not await asyncio.to_thread(third.recv, 1)


@pytest.mark.parametrize(
    ("limit", "highest", "raised", "connections"),
    [
        (1024, 10**6, 11_280, 10_000),
        (1024, 4096, 4096, 2816),
        (10**6, 10**6, None, 10_000),
        (1024, -1, 11_280, 10_000),
        (-1, -1, None, 10_000),
        (100, 100, 100, 50),
    ],
)
def test_connections_fit_into_the_limit_of_open_files(
    limit: int, highest: int, raised: int | None, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (limit, highest))
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, pair: limits.append(pair))
    assert (
        dict(options.options(Bounds(1, connections=10_000)))[
            "grpc.max_allowed_incoming_connections"
        ]
        == connections
    )
    assert limits == ([] if raised is None else [(raised, highest)])
