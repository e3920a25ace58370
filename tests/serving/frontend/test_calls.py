"""What callers of front ends see: the same as without them, from real processes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import psutil
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from clients.client import AsyncClassifierClient
from clients.types import Prediction
from protos import classifier_pb2 as pb
from protos import open_inference_pb2 as oip
from protos.open_inference_pb2_grpc import GRPCInferenceServiceStub
from serving.access.tokens import line, new_token
from serving.errors import RepositoryError, StartupError
from serving.server import Server
from tests.serving.api.messages import expected, flat, png, raw
from tests.serving.frontend.conftest import call, connected, front_ends
from tests.support.bundles import copy_bundle, photo, write_bundle
from tests.support.serving import Rig, gated_server, repository_server, running_server, until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
NAMES = ("", "inference.GRPCInferenceService", "resnext.serving.v1.Classifier", "tiny")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tiny: Path) -> AsyncIterator[Server]:
    """A server with two front ends."""
    async with running_server(tiny, frontends=2) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def channel(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to it."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc.port}") as open_channel:
        yield open_channel


async def test_files_and_pixels_are_answered_through_all_connections(server: Server) -> None:
    async with connected(server, 8) as stubs:
        for image in (png(1), raw(1)):
            for answer in await asyncio.gather(*(call(stub, image) for stub in stubs)):
                [best] = answer.results[0].classes
                assert (best.index, best.label) == expected(1)[0][:2]
                assert best.probability == pytest.approx(expected(1)[0][2], abs=1e-5)


async def test_one_bad_image_fails_alone(server: Server) -> None:
    async with connected(server) as [stub]:
        answer = await call(stub, png(1), pb.Image(encoded=b"text"), raw(2))
        assert [result.status.code for result in answer.results] == [0, 3, 0]
        with pytest.raises(grpc.aio.AioRpcError, match="not an image in one of the formats"):
            await call(stub, pb.Image(encoded=b"text"))


async def test_errors_are_those_of_one_process(server: Server) -> None:
    async with connected(server) as [stub]:
        for request, code in (
            (pb.ClassifyRequest(images=[png(1)], model="no"), grpc.StatusCode.NOT_FOUND),
            (pb.ClassifyRequest(), grpc.StatusCode.INVALID_ARGUMENT),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.Classify(request)
            assert refused.value.code() is code
        with pytest.raises(grpc.aio.AioRpcError, match="bytes; it may have at most 4096"):
            await stub.GetModel(pb.GetModelRequest(model="m" * 5000))


async def test_streams_answer_each_request(server: Server) -> None:
    async with connected(server) as [stub]:
        stream = stub.ClassifyStream()
        for number in range(20):
            image = (png, raw)[number % 2](number)
            await stream.write(pb.ClassifyRequest(id=str(number), images=[image], top_k=1))
        await stream.done_writing()
        found = {one.id: one.results[0].classes[0].index async for one in stream}
    assert found == {str(number): expected(number)[0][0] for number in range(20)}


async def test_models_are_described_by_the_engine(channel: grpc.aio.Channel) -> None:
    stub = GRPCInferenceServiceStub(channel)
    assert (await stub.ServerReady(oip.ServerReadyRequest())).ready
    assert (await stub.ModelMetadata(oip.ModelMetadataRequest(name="tiny"))).versions == ["1"]
    statistics = await stub.ModelStatistics(oip.ModelStatisticsRequest(name="tiny"))
    assert statistics.model_stats[0].name == "tiny"
    with pytest.raises(grpc.aio.AioRpcError, match="there is no shared memory") as refused:
        await stub.SystemSharedMemoryStatus(oip.SystemSharedMemoryStatusRequest())
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_and_reflection_are_there(channel: grpc.aio.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    for name in NAMES:
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
    services = [
        service.name
        async for one in reflection.ServerReflectionInfo(iter(asked))
        for service in one.list_services_response.service
    ]
    assert set(services) >= set(NAMES[1:3])


async def test_a_client_may_have_several_connections(server: Server, tmp_path: Path) -> None:
    photo(1).save(tmp_path / "photo.png")
    address = f"127.0.0.1:{server.grpc.port}"
    async with AsyncClassifierClient(address, connections=6) as client:
        for _ in range(12):
            [found] = await client.classify([tmp_path / "photo.png"], top_k=1)
            assert isinstance(found, Prediction)
            assert found.classes[0].index == expected(1)[0][0]
    with pytest.raises(ValueError, match="at least 1, not 0"):
        AsyncClassifierClient(address, connections=0)


async def test_limits_and_leaving_are_the_engines(tiny: Path) -> None:
    rig = Rig(tiny, slots=3)
    async with gated_server(rig, frontends=2) as server, connected(server, 2) as [one, other]:
        calls = [asyncio.ensure_future(call(one, flat(value))) for value in range(3)]
        await until(lambda: rig.sample("inflight_images") == 3)
        with pytest.raises(grpc.aio.AioRpcError, match="3 of 3 slots are taken") as refused:
            await call(other, flat(1))
        assert "grpc-retry-pushback-ms" in dict(refused.value.trailing_metadata() or ())
        calls[2].cancel()
        await until(lambda: rig.images("cancelled") == 1)
        rig.gate.open()
        assert len(await asyncio.gather(*calls[:2])) == 2


async def test_models_come_and_go_and_are_labelled(tmp_path: Path) -> None:
    first = write_bundle(tmp_path)
    settings = {"model_control": "explicit", "load_model": ("tiny",), "version_policy": "all"}
    async with (
        repository_server(tmp_path, frontends=1, **settings) as server,
        connected(server) as [stub],
        AsyncClassifierClient(f"127.0.0.1:{server.grpc.port}") as client,
    ):
        copy_bundle(first, tmp_path, "2")
        await client.load_model("tiny")
        assert (await call(stub, png(1))).version == "2"
        await client.set_label("tiny", "stable", "1")
        assert (await call(stub, png(1))).version == "1"
        await client.unload_model("tiny", "2")
        with pytest.raises(grpc.aio.AioRpcError, match="no version '2'"):
            await stub.Classify(pb.ClassifyRequest(images=[png(1)], version="2"))


async def test_a_shadow_is_refused(tmp_path: Path) -> None:
    """It would run images again that only front ends have."""
    copy_bundle(write_bundle(tmp_path), tmp_path, "2")
    settings = {"frontends": 1, "version_policy": "all"}
    async with repository_server(tmp_path, **settings) as server:
        with pytest.raises(RepositoryError, match=r"another label .* nothing was changed"):
            await server.control.rollouts.set("tiny", "shadow", "1")
    (tmp_path / "tiny" / "rollout.yaml").write_text("shadow: 1\n")
    with pytest.raises(StartupError, match="yaml:1: shadow: front ends have the images"):
        async with repository_server(tmp_path, **settings):
            pass


async def test_a_model_is_loaded_once_all_front_ends_know_it(tmp_path: Path) -> None:
    first = write_bundle(tmp_path)
    settings = {"model_control": "explicit", "load_model": ("tiny",), "version_policy": "all"}
    patient = {"overdue_s": 60}  # a load may take longer than a front end may usually hang
    async with repository_server(tmp_path, frontends=2, **settings, **patient) as server:
        copy_bundle(first, tmp_path, "2")
        late = max(front_ends(), key=psutil.Process.create_time)
        late.suspend()
        try:
            loading = asyncio.ensure_future(server.control.load("tiny"))
            await until(lambda: server.repository.versions("tiny") == ["1", "2"])
            await asyncio.wait((loading,), timeout=0.1)
            assert not loading.done()
        finally:
            late.resume()
        await loading
        async with connected(server, 8) as stubs:
            answers = await asyncio.gather(*(call(stub, png(1)) for stub in stubs))
        assert {answer.version for answer in answers} == {"2"}


async def test_refused_credentials_are_counted_by_the_engine(tiny: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(line("somebody", new_token(), "classify"))
    tokens.chmod(0o600)
    async with running_server(tiny, frontends=1, token_file=tokens) as server:
        async with connected(server) as [stub]:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(stub, png(1))
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        value = server.metrics.registry.get_sample_value
        name = "serving_access_refusals_total"
        await until(lambda: value(name, {"reason": "missing"}) == 1)
