"""A server whose thread lets events gather for a while."""

import asyncio
from typing import Any

import pytest

from serving.rpc import completion_queue as core
from serving.rpc.call import RpcCall
from tests.serving.rpc.running import Patient, running, unary


async def echo(request: bytes, _context: Any) -> bytes:
    return request


async def test_all_calls_are_answered() -> None:
    asked = []

    def may_rest() -> bool:
        asked.append(True)
        return True

    async with running(may_rest=may_rest, Method=unary(echo)) as it:
        calls = [it.unary_unary()(b"%d" % n) for n in range(100)]
        assert await asyncio.gather(*calls) == [b"%d" % n for n in range(100)]
    assert asked


async def test_what_is_posted_ends_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    is_resting, done = False, asyncio.Event()
    loop = asyncio.get_running_loop()
    context: list[RpcCall] = []

    class Waiting(Patient):
        async def __call__(self, request: bytes, call: RpcCall) -> bytes:
            context.append(call)
            return await super().__call__(request, call)

    waiting = Waiting()
    async with running(may_rest=lambda: is_resting, Method=unary(waiting)) as it:
        call = it.unary_unary()(b"")
        await waiting.started.wait()
        monkeypatch.setattr(core, "REST_S", 3600.0)
        is_resting = True
        assert context[0].post(lambda: None)  # after this event it rests
        assert context[0].post(lambda: loop.call_soon_threadsafe(done.set) and None)
        await done.wait()
        is_resting = False
        context[0].post(lambda: None)
        waiting.released.set()
        assert await call == b"patient"
