"""Calls that are refused before their request is read, and those that must be read."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from protos import classifier_pb2 as pb
from serving.engine.admission import LATEST
from serving.server import Server
from tests.serving.api.conftest import calling
from tests.serving.api.messages import flat
from tests.support.bundles import write_bundle
from tests.support.serving import Rig, gated_server, until


async def never() -> AsyncIterator[bytes]:
    """Send nothing."""
    await asyncio.Event().wait()
    yield b""


async def refusal(server: Server, timeout: float | None = None) -> grpc.aio.AioRpcError:  # noqa: ASYNC109
    """Return how a call ends whose request is never sent."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc.port}") as channel:
        method: Any = channel.stream_unary("/resnext.serving.v1.Classifier/Classify")
        async with asyncio.timeout(60):  # should it wait for the request
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await method(never(), timeout=timeout)
    return refused.value


async def test_a_full_server_reads_no_request(tiny: Path) -> None:
    rig = Rig(tiny, slots=1)
    async with gated_server(rig) as server, calling(server) as stub:
        busy = stub.Classify(pb.ClassifyRequest(images=[flat(1)]))
        await rig.gate.wait()
        refused = await refusal(server)
        rig.gate.open()
        await busy
    assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert int(dict(refused.trailing_metadata())["grpc-retry-pushback-ms"]) > 0
    assert rig.images("rejected") == 1


async def test_a_deadline_that_no_image_can_meet_is_told_at_once(tiny: Path) -> None:
    rig = Rig(tiny)
    async with gated_server(rig) as server:
        for device in rig.model.devices:
            device._latency.seed(1, 100.0)
        refused = await refusal(server, timeout=10)
    assert refused.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "the deadline cannot be met: the answer would take" in str(refused.details())
    assert rig.images("rejected") == 1


async def test_with_several_models_the_request_says_which_is_asked(
    tiny: Path, tmp_path: Path
) -> None:
    full, free = Rig(tiny, slots=1), Rig(write_bundle(tmp_path, "free"))
    async with gated_server(full) as server, calling(server) as stub:
        free.model.start()
        server.repository.add(free.model)
        busy = stub.Classify(pb.ClassifyRequest(images=[flat(1)], model="tiny"))
        await full.gate.wait()
        free.gate.open()
        await stub.Classify(pb.ClassifyRequest(images=[flat(1)], model="free"))
        full.gate.open()
        await busy
    assert full.images("rejected") == 0


async def test_what_is_not_read_counts_as_much_as_requests_lately_had(tiny: Path) -> None:
    rig = Rig(tiny, slots=10)
    async with gated_server(rig) as server, calling(server) as stub:
        busy = stub.Classify(pb.ClassifyRequest(images=[flat(value) for value in range(10)]))
        await rig.gate.wait()
        await refusal(server)
        rig.gate.open()
        await busy
    assert rig.images("rejected") == pytest.approx(1 + LATEST * 9)


async def test_in_a_drain_a_refusal_waits_until_callers_know_of_it(tiny: Path) -> None:
    rig = Rig(tiny, slots=1)
    async with gated_server(rig) as server, calling(server) as stub:
        busy = stub.Classify(pb.ClassifyRequest(images=[flat(1)]))
        await rig.gate.wait()
        server.readiness.draining.set()
        held = asyncio.create_task(refusal(server))
        await until(lambda: rig.images("rejected") == 1)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc.port}") as channel:
            await HealthStub(channel).Check(HealthCheckRequest())  # it is not held
        assert not held.done()
        server.readiness.farewell.set()
        assert (await held).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        rig.gate.open()
        await busy
