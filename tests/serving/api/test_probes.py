"""What operators and tools see: health, reflection, readiness, metrics."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from protos import classifier_pb2 as pb
from serving.errors import DeviceLostError
from serving.grpc_server import SERVICES, Health
from serving.server import Server
from tests.serving.api.conftest import calling
from tests.serving.api.messages import png
from tests.support.serving import Gate, Rig, gated_server, listening_server, running_server, until

SERVICE = "resnext.serving.v1.Classifier"
OPEN_INFERENCE = "inference.GRPCInferenceService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@asynccontextmanager
async def channel_to(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc.port}") as channel:
        yield channel


@asynccontextmanager
async def http_to(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.http.port}") as client:
        yield client


async def check(server: Server, service: str) -> int:
    async with channel_to(server) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        response = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        return int(response.status)


async def test_health_lists_the_server_its_service_and_its_models(tiny: Path) -> None:
    async with gated_server(Rig(tiny)) as server, channel_to(server) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        listed = (await stub.List(health_pb2.HealthListRequest())).statuses
        assert {name: state.status for name, state in listed.items()} == dict.fromkeys(
            ("", SERVICE, OPEN_INFERENCE, "tiny"), SERVING
        )
        await server.grpc.health.enter_graceful_shutdown()
        listed = (await stub.List(health_pb2.HealthListRequest())).statuses
        assert {state.status for state in listed.values()} == {NOT_SERVING}


async def read_while(status: int, watch: Any) -> None:
    while (await watch.read()).status == status:
        pass


@pytest.mark.parametrize("service", ["", SERVICE, OPEN_INFERENCE])
async def test_health_follows_the_life_of_the_server(tiny: Path, service: str) -> None:
    async with listening_server(tiny) as server:
        assert await check(server, service) == NOT_SERVING
        await server.load()
        assert await check(server, service) == NOT_SERVING
        await server.start()
        assert await check(server, service) == SERVING


async def test_readyz_follows_it_too_and_healthz_does_not(tiny: Path) -> None:
    async with listening_server(tiny) as server, http_to(server) as http:
        loading = await http.get("/readyz")
        assert (loading.status_code, "loading" in loading.text) == (503, True)
        assert (await http.get("/healthz")).status_code == 200
        assert "serving_ready 0.0" in (await http.get("/metrics")).text
        await server.load()
        await server.start()
        assert (await http.get("/readyz")).status_code == 200
        assert "serving_ready 1.0" in (await http.get("/metrics")).text
        await server.drain()
        draining = await http.get("/readyz")
        assert (draining.status_code, "draining" in draining.text) == (503, True)
        assert (await http.get("/healthz")).status_code == 200


async def test_calls_are_still_answered_while_the_shutdown_is_delayed(tiny: Path) -> None:
    async with running_server(tiny, shutdown_delay_s=3600) as server, calling(server) as stub:
        draining = asyncio.create_task(server.drain())
        async with http_to(server) as http:
            while (await http.get("/readyz")).status_code == 200:
                pass
        assert await check(server, SERVICE) == NOT_SERVING
        assert len((await stub.Classify(pb.ClassifyRequest(images=[png(1)]))).results) == 1
        call = stub.ClassifyStream(iter([pb.ClassifyRequest(images=[png(1)])]))
        assert len([answer async for answer in call]) == 1
        assert not draining.done()
        draining.cancel()


async def test_a_model_without_devices_is_not_ready_and_others_go_on(tiny: Path) -> None:
    lost = Rig(tiny, gate=Gate(is_open=True))
    lost.may_reopen.clear()
    async with gated_server(lost) as server, http_to(server) as http, calling(server) as stub:
        assert (await http.get("/readyz")).json() == {"ready": True, "models": {"tiny": True}}
        lost.backends[0].before_run = lose
        with pytest.raises(grpc.aio.AioRpcError, match="unplugged") as told:
            await stub.Classify(pb.ClassifyRequest(images=[png(1)]))
        assert told.value.code() is grpc.StatusCode.UNAVAILABLE
        while await check(server, "tiny") == SERVING:
            pass
        assert (await http.get("/readyz")).status_code == 503
        assert not (await stub.GetModel(pb.GetModelRequest())).ready
        lost.may_reopen.set()
        while await check(server, "tiny") != SERVING:
            pass
        assert (await http.get("/readyz")).status_code == 200
        assert await check(server, "") == SERVING


def lose(_: object) -> None:
    raise DeviceLostError("unplugged")


async def test_a_model_whose_work_is_overdue_is_not_ready_until_it_ends(tiny: Path) -> None:
    rig = Rig(tiny, overdue_s=0.01)
    async with gated_server(rig) as server, http_to(server) as http, calling(server) as stub:
        request = await rig.busy()
        while await check(server, "") == SERVING:
            pass
        assert await check(server, "tiny") == NOT_SERVING
        assert (await http.get("/readyz")).status_code == 503
        assert not (await stub.GetModel(pb.GetModelRequest())).ready
        with pytest.raises(grpc.aio.AioRpcError, match="overdue") as refused:
            await stub.Classify(pb.ClassifyRequest(images=[png(1)]))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        rig.gate.open()
        await request
        while await check(server, "") != SERVING:
            pass
        assert (await http.get("/readyz")).status_code == 200


async def test_calls_while_loading_are_unavailable(tiny: Path) -> None:
    async with listening_server(tiny) as server, calling(server) as stub:
        with pytest.raises(grpc.aio.AioRpcError, match="loading") as refused:
            await stub.Classify(pb.ClassifyRequest(images=[png(1)]))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_watch_sees_the_drain_and_does_not_hold_it_up(tiny: Path) -> None:
    async with running_server(tiny) as server, channel_to(server) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=""))
        await read_while(NOT_SERVING, watch)  # a front end learns a moment later that it serves
        async with asyncio.timeout(60):
            await server.drain()
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await read_while(NOT_SERVING, watch)
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_reflection_lists_the_services(server: Server) -> None:
    async with channel_to(server) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        [answer] = [answer async for answer in stub.ServerReflectionInfo(iter([asked]))]
    listed = {service.name for service in answer.list_services_response.service}
    assert {SERVICE, OPEN_INFERENCE, "grpc.health.v1.Health"} <= listed


async def test_metrics_count_what_was_sent(server: Server) -> None:
    async with calling(server) as stub, http_to(server) as http:
        images = [png(1), png(2), pb.Image(encoded=b"text")]
        await stub.Classify(pb.ClassifyRequest(images=images))
        text = (await http.get("/metrics")).text
    label = 'model="tiny",outcome="{}",version="1"'
    assert f"serving_images_total{{{label.format('ok')}}} 2.0" in text
    assert f"serving_images_total{{{label.format('invalid')}}} 1.0" in text
    for stage in ("decode", "queue", "infer", "total"):
        assert (
            f'serving_stage_seconds_count{{model="tiny",stage="{stage}",version="1"}} 2.0' in text
        )
    [rate] = [line for line in text.splitlines() if line.startswith("serving_images_per_second")]
    assert float(rate.split()[-1]) > 0


async def test_an_unknown_path_is_not_found(server: Server) -> None:
    async with http_to(server) as http:
        assert (await http.get("/nothing")).status_code == 404


@pytest.mark.parametrize("size", [1025, 10_000])
async def test_a_name_that_is_too_long_is_told_the_limit(server: Server, size: int) -> None:
    name = "x" * size
    async with channel_to(server) as channel, calling(server) as stub:
        health: Any = health_pb2_grpc.HealthStub(channel)
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        calls = [stub.GetModel(pb.GetModelRequest(model=name))]
        if size > 4096:
            asked = reflection_pb2.ServerReflectionRequest(file_by_filename=name)
            calls += [
                health.Check(health_pb2.HealthCheckRequest(service=name)),
                health.Watch(health_pb2.HealthCheckRequest(service=name)).read(),
                reflection.ServerReflectionInfo(iter([asked])).read(),
            ]
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError, match="it may have at most") as refused:
                await call
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_reflection_that_stays_open_holds_up_no_drain(tiny: Path) -> None:
    async with running_server(tiny) as server, channel_to(server) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        asking = stub.ServerReflectionInfo()
        await asking.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        await asking.read()
        async with asyncio.timeout(5):  # the grace period is longer
            await server.drain()


async def test_an_older_report_never_comes_after_a_newer_one() -> None:
    health = Health(asyncio.Event())
    watched = health._server_watchers["a"]  # whose watcher reads slowly
    async with watched:
        older = asyncio.create_task(health.show({"a": True, "b": True}))
        await until(lambda: bool(watched._lock._waiters))  # type: ignore[attr-defined]
        newer = asyncio.create_task(health.show({}))
        await until(lambda: bool(health._telling._waiters))
    await asyncio.gather(older, newer)
    assert health._names == {"", *SERVICES}
