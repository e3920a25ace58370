"""Calls of all four kinds, as clients of gRPC make them."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from serving.rpc.call import RpcCall
from serving.rpc.server import DirectServer
from tests.serving.rpc.running import SERVICE, running, unary
from tests.support.paths import ROOT

MESSAGES = [b"", b"a", b"b" * 100_000, *(b"%d" % number for number in range(50))]


async def echo(request: bytes, _context: RpcCall) -> bytes:
    return request


async def generate(_request: bytes, _context: RpcCall) -> AsyncIterator[bytes]:
    for message in MESSAGES:
        yield message


async def write(_request: bytes, context: RpcCall) -> None:
    for message in MESSAGES:
        await context.write(message)


async def join(requests: AsyncIterator[bytes], _context: RpcCall) -> bytes:
    return b",".join([request async for request in requests])


async def generate_each(requests: AsyncIterator[bytes], _context: RpcCall) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def write_each(requests: AsyncIterator[bytes], context: RpcCall) -> None:
    async for request in requests:
        await context.write(request)


async def test_one_request_one_response() -> None:
    async with running(Method=unary(echo)) as it:
        assert [await it.unary_unary()(message) for message in MESSAGES] == MESSAGES


@pytest.mark.parametrize("method", [generate, write])
async def test_a_stream_of_responses(method: Any) -> None:
    handler = grpc.unary_stream_rpc_method_handler(method, bytes, bytes)
    async with running(Method=handler) as it:
        assert [message async for message in it.unary_stream()(b"")] == MESSAGES


async def test_a_stream_of_requests() -> None:
    handler = grpc.stream_unary_rpc_method_handler(join, bytes, bytes)
    async with running(Method=handler) as it:
        assert await it.stream_unary()(iter(MESSAGES)) == b",".join(MESSAGES)
        assert await it.stream_unary()(iter([])) == b""


@pytest.mark.parametrize("method", [generate_each, write_each])
async def test_streams_both_ways(method: Any) -> None:
    handler = grpc.stream_stream_rpc_method_handler(method, bytes, bytes)
    async with running(Method=handler) as it:
        assert [message async for message in it.stream_stream()(iter(MESSAGES))] == MESSAGES
        call = it.stream_stream()()
        for message in MESSAGES:
            await call.write(message)
            assert await call.read() == message
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_messages_of_protobuf() -> None:
    async def check(request: Any, _context: RpcCall) -> Any:
        return health_pb2.HealthCheckResponse(status=len(request.service))

    handler = grpc.unary_unary_rpc_method_handler(
        check,
        health_pb2.HealthCheckRequest.FromString,
        health_pb2.HealthCheckResponse.SerializeToString,
    )
    async with running(Method=handler) as it:
        answer = await it.unary_unary()(
            health_pb2.HealthCheckRequest(service="ab").SerializeToString()
        )
    assert health_pb2.HealthCheckResponse.FromString(answer).status == 2


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_a_client_of_threads_that_compresses(compression: grpc.Compression) -> None:
    async with running(Method=unary(echo)) as it:
        address = f"127.0.0.1:{it.port}"
        with grpc.insecure_channel(address, compression=compression) as channel:
            method = channel.unary_unary(f"/{SERVICE}/Method")
            assert await asyncio.to_thread(method, b"x" * 9999, timeout=20) == b"x" * 9999


@pytest.mark.parametrize("seconds", [20, 1e6, 1e9])
async def test_the_deadline(seconds: float) -> None:
    seen: list[float | None] = []

    async def look(_request: bytes, context: RpcCall) -> bytes:
        seen.append(context.deadline_s and context.deadline_s - context.arrived_s)
        return b""

    async with running(Method=unary(look)) as it:
        await it.unary_unary()(b"")
        await it.unary_unary()(b"", timeout=seconds)
    without, remaining = seen
    assert without is None
    assert remaining is not None
    assert 0 < remaining < 1.1 * seconds  # gRPC rounds what it sends


async def test_a_clock_that_is_set_changes_no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float | None] = []

    async def look(requests: AsyncIterator[bytes], context: RpcCall) -> AsyncIterator[bytes]:
        async for request in requests:
            seen.append(context.deadline_s)
            yield request

    handler = grpc.stream_stream_rpc_method_handler(look, bytes, bytes)
    async with running(Method=handler) as it:
        call = it.stream_stream()(timeout=60)
        await call.write(b"")
        await call.read()
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 3600)
        await call.write(b"")
        await call.read()
        call.cancel()
    assert seen[0] == seen[1]
    assert seen[0] is not None
    assert seen[0] - time.monotonic() < 61


def test_nothing_that_serves_goes_by_a_clock_that_can_be_set() -> None:
    readers = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for room in ("serving", "clients")
        for path in sorted((ROOT / room).rglob("*.py"))
        for line in path.read_text().splitlines()
        if re.search(r"time\.time(_ns)?\(|datetime\.now|utcnow|CLOCK_REALTIME", line)
    ]
    # Certificates are valid by that clock, gRPC's deadlines come on it, a record of `tune` says
    # when it was made, statistics say when a model last ran, the access log and spans when a
    # request ended, the page when a sample was taken, and the doctor looks at the clock itself.
    allowed = [
        "serving/access/certificates.py",
        "serving/api/oip/statistics.py",
        "serving/doctor/certificates.py",
        "serving/doctor/clock.py",
        "serving/http/watch/sampler.py",
        "serving/record/recorder.py",
        "serving/rpc/private_grpc.py",
        "serving/tune/command.py",
    ]
    assert [reader.split(":")[0] for reader in readers] == allowed


async def test_a_taken_port_is_refused() -> None:
    async with running(Method=unary(echo)) as it:
        with pytest.raises(RuntimeError, match=str(it.port)):
            DirectServer([("grpc.so_reuseport", 0)]).add_insecure_port(f"127.0.0.1:{it.port}")
