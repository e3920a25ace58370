"""What remains of many calls: nothing."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest

from serving.rpc.bounds import Bounds
from serving.rpc.call import RpcCall
from tests.serving.rpc.running import Running, code_of, running, unary
from tests.support.objects import alive
from tests.support.serving import until


@pytest.fixture(autouse=True)
def before() -> Iterator[int]:
    """How many calls other tests have left; whatever these leave must go without the collector."""
    gc.collect()
    gc.disable()
    yield alive(RpcCall)
    gc.enable()


async def nothing_is_left(it: Running, before: int) -> None:
    await until(lambda: not it.server.in_flight and not handlers_alive())
    await until(lambda: alive(RpcCall) == before)


def handlers_alive() -> int:
    tasks = asyncio.all_tasks()
    return sum("ServicerMethod" in repr(task.get_coro()) for task in tasks)


async def mixed(request: bytes, context: RpcCall) -> bytes:
    if request == b"fail":
        await context.abort(grpc.StatusCode.NOT_FOUND, "as asked")
    return request


async def test_thousands_of_calls_in_sequence(before: int) -> None:
    async with running(Method=unary(mixed)) as it:
        method = it.unary_unary()
        for _ in range(1000):
            assert await method(b"well") == b"well"
            assert await code_of(method(b"fail")) is grpc.StatusCode.NOT_FOUND
        await nothing_is_left(it, before)


async def test_five_hundred_calls_at_once(before: int) -> None:
    together = asyncio.Barrier(501)

    async def meet(request: bytes, _context: RpcCall) -> bytes:
        await together.wait()
        return request

    async with running(Method=unary(meet)) as it:
        answers = [it.unary_unary()(b"%d" % number) for number in range(500)]
        await together.wait()
        assert await asyncio.gather(*answers) == [b"%d" % number for number in range(500)]
        await nothing_is_left(it, before)


async def test_hundreds_of_streams_of_which_half_are_left(before: int) -> None:
    async def echo(requests: AsyncIterator[bytes], _context: RpcCall) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    async def converse(number: int, method: Any) -> None:
        stream = method()
        await stream.write(b"%d" % number)
        assert await stream.read() == b"%d" % number
        if number % 2:
            stream.cancel()
        else:
            await stream.done_writing()
            assert await stream.read() is grpc.aio.EOF

    handler = grpc.stream_stream_rpc_method_handler(echo, bytes, bytes)
    async with running(bounds=Bounds(streams=300), Method=handler) as it:
        await asyncio.gather(*(converse(number, it.stream_stream()) for number in range(300)))
        await nothing_is_left(it, before)
