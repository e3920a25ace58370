"""Work that is handed over to gRPC's thread by way of a call."""

import asyncio
import threading

import pytest

from serving.rpc.call import RpcCall
from tests.serving.rpc.running import Patient, running, unary
from tests.support.serving import until


class Waiting(Patient):
    """Keeps its context while it waits."""

    context: RpcCall

    async def __call__(self, request: bytes, context: RpcCall) -> bytes:
        self.context = context
        return await super().__call__(request, context)


async def test_work_is_done_on_grpcs_thread_and_may_end_the_call() -> None:
    waiting, threads = Waiting(), list[str]()

    def work() -> None:
        threads.append(threading.current_thread().name)
        waiting.context.finish(b"posted")

    async with running(Method=unary(waiting)) as it:
        call = it.unary_unary()(b"")
        await waiting.started.wait()
        assert waiting.context.post(work)
        assert await call == b"posted"
        waiting.released.set()
    assert ["_serve" in name for name in threads] == [True]


async def test_a_call_that_has_ended_takes_no_work() -> None:
    waiting = Waiting()
    async with running(Method=unary(waiting)) as it:
        call = it.unary_unary()(b"")
        await waiting.started.wait()
        call.cancel()
        await waiting.cancelled.wait()
        await until(lambda: not it.server.in_flight)
        assert not waiting.context.post(lambda: None)


async def test_work_that_fails_is_logged_and_harms_no_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    waiting, done = Waiting(), threading.Event()
    async with running(Method=unary(waiting)) as it:
        call = it.unary_unary()(b"")
        await waiting.started.wait()
        assert waiting.context.post(lambda: [][0])
        assert waiting.context.post(done.set)
        assert await asyncio.to_thread(done.wait, 30)
        waiting.released.set()
        assert await call == b"patient"
    [record] = caplog.records
    assert record.exc_info
    assert record.exc_info[0] is IndexError
