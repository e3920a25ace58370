"""Servers that stop."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest

from serving.rpc import server as server_module
from serving.rpc.call import RpcCall
from serving.rpc.server import DirectServer
from tests.serving.rpc.running import CHANNEL, SERVICE, Patient, code_of, running, unary
from tests.support.serving import until

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
GRACE_S = 20.0


async def test_calls_in_flight_finish_and_new_ones_are_refused() -> None:
    patient = Patient()
    async with running(Method=unary(patient)) as it:
        calling = it.unary_unary()(b"")
        await patient.started.wait()
        stopping = asyncio.create_task(it.server.stop(GRACE_S))
        # A call that comes before the client knows may be cancelled instead.
        await it.channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        assert await code_of(it.unary_unary()(b"")) is UNAVAILABLE
        assert not stopping.done()
        patient.released.set()
        assert await calling == b"patient"
        await stopping
    assert patient.calls == 1


async def test_what_is_left_after_the_grace_period_is_cut_off() -> None:
    patient = Patient()
    async with running(Method=unary(patient)) as it:
        calling = it.unary_unary()(b"")
        await patient.started.wait()
        await it.server.stop(0.2)
        await patient.cancelled.wait()
        assert await code_of(calling) is UNAVAILABLE


async def test_a_silent_stream_is_cut_off() -> None:
    started = asyncio.Event()

    async def read(requests: object, _context: RpcCall) -> bytes:
        started.set()
        return b"%d" % len([request async for request in requests])  # type: ignore[attr-defined]

    async with running(Method=grpc.stream_unary_rpc_method_handler(read, bytes, bytes)) as it:
        calling = it.stream_unary()()
        await started.wait()
        await it.server.stop(0.2)
        assert await code_of(calling) is UNAVAILABLE


async def test_stop_again() -> None:
    patient = Patient()
    async with running(Method=unary(patient)) as it:
        calling = it.unary_unary()(b"")
        await patient.started.wait()
        patiently = asyncio.create_task(it.server.stop(GRACE_S))
        await asyncio.sleep(0)
        await it.server.stop(0)  # in haste
        await patiently
        assert await code_of(calling) is UNAVAILABLE
        await it.server.stop(GRACE_S)


async def test_stop_of_a_server_that_has_not_started() -> None:
    await DirectServer([]).stop(GRACE_S)


async def test_a_drain_refuses_new_calls_unread_and_answers_all_that_came_before() -> None:
    patient = Patient()
    async with running(Method=unary(patient)) as it:
        calling = [it.unary_unary()(b"") for _ in range(50)]
        await until(lambda: patient.calls == 50)
        draining = asyncio.create_task(it.server.drain(GRACE_S, "draining"))
        await asyncio.sleep(0)
        for call in (it.unary_unary()(b""), it.stream_unary()(forever())):
            assert await code_of(call) is UNAVAILABLE
            assert await call.details() == "draining"
        # Not asked to go yet: its connection would end with the last answer, read or not.
        assert it.channel.get_state() is grpc.ChannelConnectivity.READY
        assert not draining.done()
        patient.released.set()
        assert await asyncio.gather(*calling) == [b"patient"] * 50
        await draining
    assert patient.calls == 50


async def test_a_drain_of_an_idle_server() -> None:
    async with running(Method=unary(Patient())) as it:
        await it.channel.channel_ready()
        await it.server.drain(GRACE_S, "draining")


async def test_a_drain_cuts_off_what_is_left_after_the_grace_period() -> None:
    patient = Patient()
    async with running(Method=unary(patient)) as it:
        calling = it.unary_unary()(b"")
        await patient.started.wait()
        await it.server.drain(0.2, "draining")
        await patient.cancelled.wait()
        assert await code_of(calling) is UNAVAILABLE


async def forever() -> AsyncIterator[bytes]:
    """Send nothing."""
    await asyncio.Event().wait()
    yield b""


@pytest.mark.parametrize("grace_s", [0, GRACE_S])
async def test_calls_that_meet_a_stop_are_answered_or_fail_at_once(grace_s: float) -> None:
    """CANCELLED is what any server of gRPC tells calls that it has not yet been handed."""
    for _ in range(10):
        outcomes = await outcomes_around(lambda server: server.stop(grace_s))
        failed = outcomes[UNAVAILABLE] + outcomes[grpc.StatusCode.CANCELLED]
        assert failed == 20
        assert outcomes.total() == outcomes[grpc.StatusCode.OK] + failed


async def test_calls_that_meet_a_drain_are_answered_or_refused() -> None:
    for _ in range(10):
        outcomes = await outcomes_around(lambda server: server.drain(GRACE_S, "draining"))
        assert outcomes[UNAVAILABLE] == 20
        assert outcomes.total() == outcomes[grpc.StatusCode.OK] + 20


async def outcomes_around(
    stop: Callable[[DirectServer], Awaitable[None]],
) -> Counter[grpc.StatusCode]:
    """Stop a server while twenty callers loop until their first failure."""
    outcomes: Counter[grpc.StatusCode] = Counter()
    warm = asyncio.Event()

    async def echo(request: bytes, _context: RpcCall) -> bytes:
        return request

    async def loop(port: int) -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", CHANNEL) as channel:
            code = grpc.StatusCode.OK
            while code is grpc.StatusCode.OK:
                call = channel.unary_unary(f"/{SERVICE}/Method")(b"")
                code = await call.code()
                outcomes[code] += 1
                if outcomes[code] == 60:
                    warm.set()

    async with running(Method=unary(echo)) as it, asyncio.TaskGroup() as callers:
        for _ in range(20):
            callers.create_task(loop(it.port))
        await warm.wait()
        await stop(it.server)
    return outcomes


async def test_a_loop_that_is_closed_too_early() -> None:
    """The server cannot answer any more; it says so, and it still stops."""
    server = DirectServer([])
    server.add_registered_method_handlers(SERVICE, {"Method": unary(Patient())})
    port = server.add_insecure_port("127.0.0.1:0")

    async def start() -> None:
        server.start()

    await asyncio.to_thread(asyncio.run, start())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(f"/{SERVICE}/Method")(b"")
        assert await code_of(call) is UNAVAILABLE
        assert "event loop is closed" in await call.details()
    await server.stop(GRACE_S)


async def test_a_call_that_hangs_does_not_keep_other_clients_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "LONGEST_REFUSALS_S", 0.1)
    patient = Patient()
    async with running(Method=unary(patient)) as it:
        calling = it.unary_unary()(b"")
        await patient.started.wait()
        draining = asyncio.create_task(it.server.drain(GRACE_S, "draining"))
        # The client is asked to go while the call is still in flight.
        await it.channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        assert not draining.done()
        patient.released.set()
        assert await calling == b"patient"
        await draining
