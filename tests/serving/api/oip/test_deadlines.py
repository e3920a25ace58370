"""Callers that leave or cannot wait."""

import asyncio
import gc
from pathlib import Path

import grpc
import pytest

from protos import open_inference_pb2 as pb
from serving.api.oip.inputs import Images
from serving.errors import ServingError
from tests.serving.api.oip.conftest import inferring
from tests.serving.api.oip.messages import files, flat, rows
from tests.support.objects import alive
from tests.support.serving import Rig, gated_server, until


def within(timeout_us: int, *values: int) -> pb.ModelInferRequest:
    """A request with a timeout of its own."""
    request = flat(*values)
    request.parameters["timeout"].int64_param = timeout_us
    return request


@pytest.mark.parametrize("call_timeout_s", [None, 60])
async def test_a_timeout_in_microseconds_ends_the_call_and_the_job(
    tiny: Path, call_timeout_s: float | None
) -> None:
    rig = Rig(tiny)
    async with gated_server(rig) as server, inferring(server) as stub:
        busy = stub.ModelInfer(flat(0))
        await rig.gate.wait()
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await stub.ModelInfer(within(200_000, 1), timeout=call_timeout_s)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "the deadline passed before the image was classified" in (late.value.details() or "")
        assert rig.images("expired") == 1
        rig.gate.open()
        await busy
    assert rig.backends[0].batches == [(1, 1)]


async def test_a_timeout_that_cannot_be_met_is_refused_at_once(tiny: Path) -> None:
    rig = Rig(tiny)
    async with gated_server(rig) as server, inferring(server) as stub:
        with pytest.raises(grpc.aio.AioRpcError, match="deadline had passed") as late:
            await stub.ModelInfer(within(1, 1))
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_the_deadline_of_the_call_ends_it_and_the_job(tiny: Path) -> None:
    rig = Rig(tiny)
    async with gated_server(rig) as server, inferring(server) as stub:
        busy = stub.ModelInfer(flat(0))
        await rig.gate.wait()
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await stub.ModelInfer(within(60_000_000, 1), timeout=0.2)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: rig.images("expired") == 1)
        rig.gate.open()
        await busy


async def test_a_cancelled_call_never_runs(tiny: Path) -> None:
    rig = Rig(tiny)
    async with gated_server(rig) as server, inferring(server) as stub:
        busy = stub.ModelInfer(flat(0))
        await rig.gate.wait()
        leaving, staying = stub.ModelInfer(flat(1, 2)), stub.ModelInfer(flat(3))
        await rig.queued(3)
        leaving.cancel()
        await until(lambda: rig.images("cancelled") == 2)
        rig.gate.open()
        await busy
        assert rows(await staying).argmax() == 3
    assert rig.backends[0].batches == [(1, 1), (1, 1)]


async def test_a_full_server_says_when_to_try_again(tiny: Path) -> None:
    rig = Rig(tiny, slots=2)
    async with gated_server(rig) as server, inferring(server) as stub:
        busy = stub.ModelInfer(flat(0, 1))
        await rig.gate.wait()
        with pytest.raises(grpc.aio.AioRpcError, match="slots are taken") as refused:
            await stub.ModelInfer(flat(2))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "grpc-retry-pushback-ms" in dict(refused.value.trailing_metadata())
        rig.gate.open()
        await busy


async def test_requests_and_models_of_both_services_share_the_engine(tiny: Path) -> None:
    rig = Rig(tiny)
    async with gated_server(rig) as server, inferring(server) as stub:
        calls = [stub.ModelInfer(flat(value)) for value in range(9)]
        await until(lambda: rig.sample("inflight_images") == 9)
        rig.gate.open()
        found = [int(rows(one).argmax()) for one in await asyncio.gather(*calls)]
    assert found == [value % 6 for value in range(9)]
    assert max(images for images, _ in rig.backends[0].batches) > 1


async def test_an_image_that_fails_leaves_nothing(tiny: Path) -> None:
    async with gated_server(Rig(tiny)) as server, inferring(server) as stub:
        gc.collect()
        before = alive(ServingError)
        gc.disable()
        try:
            for bad in (files(b"text"), files(b"text", b"text"), files()):
                with pytest.raises(grpc.aio.AioRpcError):
                    await stub.ModelInfer(bad)
            await until(lambda: alive(ServingError) <= before)
        finally:
            gc.enable()


async def test_a_request_in_flight_does_not_hold_its_message(tiny: Path) -> None:
    rig = Rig(tiny)
    async with gated_server(rig) as server, inferring(server) as stub:
        busy = stub.ModelInfer(flat(0))
        await rig.gate.wait()
        before = alive(Images)
        waiting = stub.ModelInfer(flat(1))
        await rig.queued(1)
        assert alive(Images) == before
        rig.gate.open()
        await asyncio.gather(busy, waiting)


async def test_a_request_of_a_stream_does_not_hold_its_message(tiny: Path) -> None:
    rig = Rig(tiny)
    async with gated_server(rig) as server, inferring(server) as stub:
        before = alive(Images)
        call = stub.ModelStreamInfer(iter([flat(value) for value in range(4)]))
        await until(lambda: rig.sample("inflight_images") == 4)
        await until(lambda: alive(Images) == before)
        rig.gate.open()
        assert len([answer async for answer in call]) == 4
