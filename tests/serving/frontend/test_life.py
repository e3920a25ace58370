"""Front ends that are killed, hang, drain, and their engine that dies: real processes."""

import asyncio
import errno
import io
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from protos import classifier_pb2 as pb
from serving.errors import StartupError
from serving.frontend.slots import Memory, check_memory
from serving.frontend.supervisor import FrontEnds
from serving.memory import Room
from tests.serving.api.messages import flat, png
from tests.serving.frontend.conftest import (
    all_up,
    call,
    classes,
    connected,
    deaths,
    front_ends,
)
from tests.support.bundles import SIDE
from tests.support.process import ready, start
from tests.support.serving import Rig, gated_server, listening_server, running_server, until

if TYPE_CHECKING:
    from protos.classifier_pb2_grpc import ClassifierAsyncStub

pytestmark = pytest.mark.slow


async def test_a_front_end_that_dies_loses_only_its_own_calls(tiny: Path) -> None:
    rig = Rig(tiny, slots=256)
    async with gated_server(rig, frontends=2) as server, connected(server, 8) as stubs:
        calls = [asyncio.ensure_future(call(stub, flat(v))) for v, stub in enumerate(stubs)]
        await until(lambda: rig.sample("inflight_images") == 8)
        victim, other = front_ends()
        victim.send_signal(signal.SIGKILL)
        await until(lambda: deaths(server, "died") == 1)
        rig.gate.open()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        lost = [one for one in ended if isinstance(one, grpc.aio.AioRpcError)]
        assert {one.code() for one in lost} <= {grpc.StatusCode.UNAVAILABLE}
        answered = [(value, one) for value, one in enumerate(ended) if one not in lost]
        assert classes(one for _, one in answered) == [value % 6 for value, _ in answered]
        await until(lambda: rig.sample("inflight_images") == 0)
        assert other.is_running()
        await all_up(server, 2)
        assert classes(await asyncio.gather(*(call(stub, flat(5)) for stub in stubs))) == [5] * 8


async def test_one_that_hangs_is_killed_and_started_again(tiny: Path) -> None:
    async with running_server(tiny, frontends=1, overdue_s=2) as server:
        [victim] = front_ends()
        victim.send_signal(signal.SIGSTOP)
        await until(lambda: deaths(server, "hung") == 1)
        await all_up(server, 1)
        async with connected(server) as [stub]:
            assert len((await call(stub, png(1))).results) == 1
    assert not victim.is_running()


async def test_a_decode_that_never_ends_costs_a_front_end_and_not_the_server(tiny: Path) -> None:
    endless = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (5000, 9000, 3), np.uint8)
    Image.fromarray(noise).save(endless, "PNG", compress_level=1)
    limits = {"max_image_bytes": 2**28, "max_message_bytes": 2**28, "max_inflight_bytes": 2**29}
    times = {"max_image_ms": 600_000, "max_image_mib": 4000, "overdue_s": 0.6}
    async with running_server(tiny, frontends=1, **limits, **times) as server:
        async with connected(server) as [stub]:
            with pytest.raises(grpc.aio.AioRpcError) as lost:
                await call(stub, pb.Image(encoded=endless.getvalue()))
            assert lost.value.code() is grpc.StatusCode.UNAVAILABLE
        await until(lambda: (deaths(server, "hung") or 0) >= 1)
        async with connected(server) as [stub]:
            assert len((await call(stub, png(1))).results) == 1


async def until_refused(stub: "ClassifierAsyncStub") -> None:
    while True:  # until its front end knows
        await stub.GetModel(pb.GetModelRequest())


async def test_a_drain_answers_all_that_is_in_flight(tiny: Path) -> None:
    rig = Rig(tiny, slots=256)
    async with gated_server(rig, frontends=2) as server, connected(server, 8) as stubs:
        calls = [
            asyncio.ensure_future(call(stub, flat(value))) for value in range(8) for stub in stubs
        ]
        await until(lambda: rig.sample("inflight_images") == 64)
        draining = asyncio.ensure_future(server.drain())
        async with connected(server) as [late]:
            with pytest.raises(grpc.aio.AioRpcError, match="draining"):
                await until_refused(late)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.http.port}") as http:
            refused = await http.post("/v1/classify", content=png(1).encoded)
            assert (refused.status_code, "draining" in refused.text) == (503, True)
        rig.gate.open()
        ended = classes(await asyncio.gather(*calls))
        assert sorted(ended) == sorted(value % 6 for value in range(8) for _ in stubs)
        await draining
        assert front_ends() == []
    assert deaths(server, "died") == 0


async def test_signals_to_all_processes_are_left_to_the_engine(tiny: Path) -> None:
    async with running_server(tiny, frontends=1) as server, connected(server) as [stub]:
        await call(stub, png(1))
        for process in front_ends():
            assert os.getpgid(process.pid) != os.getpgid(0)
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGTERM)
        assert len((await call(stub, png(1))).results) == 1


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_front_ends_end_with_the_engine(tiny: Path, signum: signal.Signals) -> None:
    before = sorted(Path("/dev/shm").iterdir())
    process = start(tiny, "--frontends", "2", stderr=None)
    try:
        ready(process)
        children = front_ends(process.pid)
        assert len(children) == 2
        assert sorted(Path("/dev/shm").iterdir()) == before
        children[0].send_signal(signal.SIGSTOP)  # it cannot see the end of the connection
        process.send_signal(signum)
        assert process.wait(60) == (0 if signum is signal.SIGTERM else -signum)
        _, alive = psutil.wait_procs(children, timeout=30)
        assert alive == []
    finally:
        process.kill()
        process.communicate()


async def test_a_taken_port_is_told_at_the_start(tiny: Path) -> None:
    async with running_server(tiny, frontends=1) as server:
        with pytest.raises(StartupError, match="Address already in use"):
            async with listening_server(tiny, frontends=1, grpc_port=server.grpc.port):
                pass


async def test_too_little_memory_is_told_at_the_start(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = Room("the machine", 1024 * SIDE * SIDE * 3 - 1)
    monkeypatch.setattr("serving.frontend.slots.free", lambda _: [room])
    async with listening_server(tiny, frontends=1) as server:
        with pytest.raises(StartupError, match="--max-inflight-images or --frontends"):
            await server.load()


async def test_one_is_started_as_soon_as_the_machine_lets_it(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_server(tiny, frontends=1) as server:
        real, refusals = subprocess.Popen, iter([OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))])

        def scarce(*words: Any, **options: Any) -> "subprocess.Popen[bytes]":
            for refusal in refusals:
                raise refusal
            return real(*words, **options)

        monkeypatch.setattr("serving.frontend.front_end.subprocess.Popen", scarce)
        [victim] = front_ends()
        victim.send_signal(signal.SIGKILL)
        await until(lambda: deaths(server, "died") == 1)
        await all_up(server, 1)
        assert next(refusals, None) is None
        async with connected(server) as [stub]:
            assert len((await call(stub, png(1))).results) == 1


async def test_one_that_gets_no_memory_for_a_model_takes_no_calls(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It would answer that there is no such model."""
    real, refusals = Memory, iter([OSError(errno.EMFILE, os.strerror(errno.EMFILE))])

    def scarce(*shape: int) -> Memory:
        for refusal in refusals:
            raise refusal
        return real(*shape)

    monkeypatch.setattr("serving.frontend.front_end.Memory", scarce)
    async with running_server(tiny, frontends=1) as server, connected(server) as [stub]:
        await until(lambda: deaths(server, "died") == 1)
        await all_up(server, 1)
        assert len((await call(stub, png(1))).results) == 1
    assert "gets no memory for pixels: Too many open files" in caplog.text


async def test_an_engine_that_is_held_up_blames_no_front_end(tiny: Path) -> None:
    async with running_server(tiny, frontends=1, overdue_s=2) as server:
        # As a machine that is paused: nothing is read, and the loop is the first to go on.
        assert isinstance(server.grpc, FrontEnds)
        server.grpc._exchange.post(lambda: time.sleep(4.5))
        time.sleep(4)  # noqa: ASYNC251
        async with connected(server) as [stub]:
            assert len((await call(stub, png(1))).results) == 1
        assert deaths(server, "hung") == 0


def test_what_a_process_may_not_have_is_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: int) -> Memory:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    monkeypatch.setattr("serving.frontend.slots.Memory", refuse)
    with pytest.raises(StartupError, match=r"File too large \(ulimit -a\)"):
        check_memory(1, 2, SIDE, SIDE)
