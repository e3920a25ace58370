"""Callers that leave, and callers that are too many, over gRPC."""

import asyncio
import gc
from pathlib import Path

import grpc
import pytest

from protos import classifier_pb2 as pb
from serving.errors import ServingError
from tests.serving.api.conftest import calling
from tests.serving.api.messages import flat
from tests.support.bundles import write_bundle
from tests.support.objects import alive
from tests.support.serving import Gate, Rig, gated_server, until


def request(*values: int) -> pb.ClassifyRequest:
    return pb.ClassifyRequest(images=[flat(value) for value in values], top_k=1)


async def test_a_deadline_ends_the_call_and_the_job(tiny: Path) -> None:
    rig = Rig(tiny)
    async with gated_server(rig) as server, calling(server) as stub:
        busy = stub.Classify(request(0))
        await rig.gate.wait()
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await stub.Classify(request(1), timeout=1)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: rig.images("expired") == 1)
        rig.gate.open()
        await busy
    assert rig.backends[0].batches == [(1, 1)]


async def test_a_request_without_a_deadline_gets_the_default(tiny: Path) -> None:
    rig = Rig(tiny)
    async with gated_server(rig, default_timeout_ms=100) as server, calling(server) as stub:
        with pytest.raises(grpc.aio.AioRpcError, match="deadline passed") as late:
            await stub.Classify(request(1))
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        response = await stub.Classify(request(1, 2))
    assert {result.status.code for result in response.results} == {4}


async def test_a_cancelled_call_never_runs(tiny: Path) -> None:
    rig = Rig(tiny)
    async with gated_server(rig) as server, calling(server) as stub:
        busy = stub.Classify(request(0))
        await rig.gate.wait()
        leaving, staying = stub.Classify(request(1, 2)), stub.Classify(request(3))
        await rig.queued(3)
        leaving.cancel()
        await until(lambda: rig.images("cancelled") == 2)
        rig.gate.open()
        await busy
        assert (await staying).results[0].classes[0].index == 3
    assert rig.backends[0].batches == [(1, 1), (1, 1)]


async def test_a_full_server_says_when_to_try_again(tiny: Path) -> None:
    rig = Rig(tiny, slots=2)
    async with gated_server(rig) as server, calling(server) as stub:
        busy = stub.Classify(request(0, 1))
        await rig.gate.wait()
        with pytest.raises(grpc.aio.AioRpcError, match="slots are taken") as refused:
            await stub.Classify(request(2))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        pushback = dict(refused.value.trailing_metadata())["grpc-retry-pushback-ms"]
        assert 0 < int(pushback) <= 10_000
        rig.gate.open()
        await busy


async def test_draining_answers_all_that_is_in_flight(tiny: Path) -> None:
    rig = Rig(tiny)
    async with gated_server(rig) as server, calling(server) as stub:
        calls = [stub.Classify(request(value)) for value in range(32)]
        await until(lambda: rig.sample("inflight_images") == 32)
        draining = asyncio.create_task(server.drain())
        await server.readiness.closing.wait()
        async with calling(server) as late:
            with pytest.raises(grpc.aio.AioRpcError, match="the server is draining") as refused:
                await late.Classify(request(1))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not draining.done()
        rig.gate.open()
        responses = await asyncio.gather(*calls)
        await draining
    found = [response.results[0].classes[0].index for response in responses]
    assert found == [value % 6 for value in range(32)]


async def test_draining_ends_with_the_grace_period(tiny: Path) -> None:
    rig = Rig(tiny)
    async with gated_server(rig, grace_period_s=0.1) as server, calling(server) as stub:
        stuck = stub.Classify(request(1))
        await rig.gate.wait()
        await server.drain()
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await stuck


async def test_an_open_gate_is_no_bottleneck(tiny: Path) -> None:
    rig = Rig(tiny, slots=100, gate=Gate(is_open=True))
    async with gated_server(rig) as server, calling(server) as stub:
        responses = await asyncio.gather(*(stub.Classify(request(n)) for n in range(100)))
    found = [response.results[0].classes[0].index for response in responses]
    assert found == [value % 6 for value in range(100)]


async def test_a_refusal_leaves_nothing_to_the_garbage_collector(tiny: Path) -> None:
    rig = Rig(tiny, slots=1)
    async with gated_server(rig) as server, calling(server) as stub:
        busy = stub.Classify(request(0))
        await rig.gate.wait()
        gc.collect()
        before = alive(ServingError)
        gc.disable()
        try:
            for call in (stub.Classify(request(1)), stub.Classify(pb.ClassifyRequest())):
                with pytest.raises(grpc.aio.AioRpcError):
                    await call
            await until(lambda: alive(ServingError) <= before)
        finally:
            gc.enable()
        rig.gate.open()
        await busy


async def test_an_image_that_fails_alone_leaves_nothing_either(tiny: Path) -> None:
    async with gated_server(Rig(tiny)) as server, calling(server) as stub:
        gc.collect()
        before = alive(ServingError)
        gc.disable()
        try:
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Classify(pb.ClassifyRequest(images=[pb.Image(encoded=b"text")]))
            await until(lambda: alive(ServingError) <= before)
        finally:
            gc.enable()


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


async def test_a_deadline_that_no_image_can_meet_is_told_at_once(tiny: Path) -> None:
    rig = Rig(tiny)
    async with gated_server(rig) as server, calling(server) as stub:
        for device in rig.model.devices:
            device.latency.seed(1, 100.0)
        with pytest.raises(grpc.aio.AioRpcError, match="the answer would take") as refused:
            await stub.Classify(request(1), timeout=10)
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert rig.images("rejected") == 1
