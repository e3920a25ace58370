"""What the server says of itself and its models, and that it counts as Prometheus does."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from protos import open_inference_pb2 as pb
from serving.api.oip.infer import ImageInference
from serving.api.oip.names import both, find
from serving.api.oip.service import OpenInference
from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.errors import DeviceLostError, InvalidRequestError
from serving.server import Server
from tests.serving.api.messages import png
from tests.serving.api.oip.conftest import inferring
from tests.serving.api.oip.messages import files, flat, photos
from tests.support.bundles import BUCKETS, LABELS, SIDE
from tests.support.serving import Gate, Rig, gated_server, listening_server, until

if TYPE_CHECKING:
    from protos.open_inference_pb2_grpc import GRPCInferenceServiceAsyncStub as Stub

OUTPUT = {"name": "probabilities", "datatype": "FP32", "shape": ["-1", "6"]}


def as_dict(message: Any) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)


def holding(*names: str) -> ModelRepository:
    repository = ModelRepository()
    for name in names:
        repository.add(cast("Model", SimpleNamespace(name=name, version="1")))
    return repository


def test_a_model_has_two_names() -> None:
    repository = holding("net")
    model = repository.get("net", "1")
    assert find(repository, "net", "") == ("net", model, False)
    assert find(repository, "net_pixels", "1") == ("net_pixels", model, True)
    assert find(repository, "", "") == ("net", model, False)
    assert [named.name for named in both(repository, model)] == ["net", "net_pixels"]


def test_a_model_that_really_has_the_name_wins() -> None:
    repository = holding("net", "net_pixels")
    model = repository.get("net_pixels", "1")
    assert find(repository, "net_pixels", "") == ("net_pixels", model, False)
    assert find(repository, "net_pixels_pixels", "") == ("net_pixels_pixels", model, True)
    names = [named.name for one in repository.all() for named in both(repository, one)]
    assert names == ["net", "net_pixels", "net_pixels_pixels"]


def test_a_name_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="`version` has 1025 bytes"):
        find(holding("net"), "net", "x" * 1025)


async def test_the_server_describes_itself(oip: "Stub") -> None:
    assert (await oip.ServerLive(pb.ServerLiveRequest())).live
    assert (await oip.ServerReady(pb.ServerReadyRequest())).ready
    described = await oip.ServerMetadata(pb.ServerMetadataRequest())
    assert described.name == "resnext-serving"
    assert described.version
    assert {"classification", "statistics", "model_configuration"} <= {*described.extensions}


async def test_a_model_describes_its_tensors(oip: "Stub") -> None:
    described = as_dict(await oip.ModelMetadata(pb.ModelMetadataRequest(name="tiny")))
    assert described == {
        "name": "tiny",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "images", "datatype": "BYTES", "shape": ["-1", "1"]}],
        "outputs": [OUTPUT],
    }
    pixels = as_dict(await oip.ModelMetadata(pb.ModelMetadataRequest(name="tiny_pixels")))
    assert pixels["inputs"] == [
        {"name": "images", "datatype": "UINT8", "shape": ["-1", "16", "16", "3"]}
    ]
    assert (pixels["name"], pixels["outputs"]) == ("tiny_pixels", [OUTPUT])


async def test_a_model_describes_its_configuration(oip: "Stub", server: Server) -> None:
    request = pb.ModelConfigRequest(name="tiny_pixels", version="1")
    config = (await oip.ModelConfig(request)).config
    assert (config.name, config.backend, config.max_batch_size) == (
        "tiny_pixels",
        "onnxruntime",
        128,
    )
    assert [as_dict(one) for one in config.input] == [
        {
            "name": "images",
            "data_type": "TYPE_UINT8",
            "format": "FORMAT_NHWC",
            "dims": [str(SIDE), str(SIDE), "3"],
        }
    ]
    assert [as_dict(one) for one in config.output] == [
        {"name": "probabilities", "data_type": "TYPE_FP32", "dims": [str(len(LABELS))]}
    ]
    [group] = config.instance_group
    assert group.kind == pb.ModelInstanceGroup.KIND_CPU
    assert group.count == len(server.repository.get("", "").devices)
    assert list(config.dynamic_batching.preferred_batch_size) == BUCKETS
    assert config.parameters["precision"].string_value == "fp32"
    files_ = (await oip.ModelConfig(pb.ModelConfigRequest(name="tiny"))).config.input
    assert [(one.data_type, list(one.dims)) for one in files_] == [(pb.TYPE_STRING, [1])]


async def test_an_unknown_model_is_not_found(oip: "Stub") -> None:
    for call in (
        oip.ModelMetadata(pb.ModelMetadataRequest(name="nose")),
        oip.ModelConfig(pb.ModelConfigRequest(name="tiny", version="7")),
        oip.ModelStatistics(pb.ModelStatisticsRequest(name="nose")),
    ):
        with pytest.raises(grpc.aio.AioRpcError, match="loaded: ") as refused:
            await call
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_an_unknown_model_is_not_ready(oip: "Stub") -> None:
    ready = {
        name: (await oip.ModelReady(pb.ModelReadyRequest(name=name))).ready
        for name in ("tiny", "tiny_pixels", "nose")
    }
    assert ready == {"tiny": True, "tiny_pixels": True, "nose": False}


async def test_readiness_follows_the_life_of_the_server(tiny: Path) -> None:
    async with listening_server(tiny) as server, inferring(server) as stub:
        assert (await stub.ServerLive(pb.ServerLiveRequest())).live
        assert not (await stub.ServerReady(pb.ServerReadyRequest())).ready
        assert not (await stub.ModelReady(pb.ModelReadyRequest(name="tiny"))).ready
        assert not (await stub.RepositoryIndex(pb.RepositoryIndexRequest())).models
        with pytest.raises(grpc.aio.AioRpcError) as loading:
            await stub.ModelInfer(photos(1))
        assert loading.value.code() is grpc.StatusCode.UNAVAILABLE
        await server.load()
        await server.start()
        assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
        assert (await stub.ModelReady(pb.ModelReadyRequest(name="tiny"))).ready


async def test_the_index_says_which_models_answer(tiny: Path) -> None:
    def lose(_: object) -> None:
        raise DeviceLostError("gone")

    rig = Rig(tiny, gate=Gate(is_open=True))
    rig.may_reopen.clear()
    async with gated_server(rig) as server, inferring(server) as stub:
        index = as_dict(await stub.RepositoryIndex(pb.RepositoryIndexRequest()))
        assert index["models"] == [
            {"name": name, "version": "1", "state": "READY"} for name in ("tiny", "tiny_pixels")
        ]
        rig.backends[0].before_run = lose
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.ModelInfer(flat(1))
        await until(lambda: not rig.model.ready)
        lost = await stub.RepositoryIndex(pb.RepositoryIndexRequest())
        assert {(one.state, bool(one.reason)) for one in lost.models} == {("UNAVAILABLE", True)}
        assert not (await stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True))).models
        assert not (await stub.ServerReady(pb.ServerReadyRequest())).ready
        rig.may_reopen.set()


MISSING = {
    "SystemSharedMemoryStatus": "there is no shared memory",
    "SystemSharedMemoryRegister": "there is no shared memory",
    "SystemSharedMemoryUnregister": "there is no shared memory",
    "CudaSharedMemoryStatus": "there is no shared memory",
    "CudaSharedMemoryRegister": "there is no shared memory",
    "CudaSharedMemoryUnregister": "there is no shared memory",
    "TraceSetting": "there are no traces",
    "LogSettings": "the log is set up",
}


async def test_what_there_is_not_is_said(oip: "Stub") -> None:
    for method, why in MISSING.items():
        with pytest.raises(grpc.aio.AioRpcError, match=why) as refused:
            await getattr(oip, method)(getattr(pb, f"{method}Request")())
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_every_method_has_an_answer() -> None:
    methods = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    assert {method.name for method in methods} <= vars(OpenInference).keys() | vars(
        ImageInference
    ).keys()


async def test_statistics_agree_with_prometheus(oip: "Stub", server: Server) -> None:
    def sample(name: str, **labels: str) -> float:
        bound = {"model": "tiny", "version": "1", **labels}
        return server.metrics.registry.get_sample_value(f"serving_{name}", bound) or 0.0

    request = pb.ModelStatisticsRequest()
    [before] = (await oip.ModelStatistics(request)).model_stats
    assert (before.inference_count, before.last_inference, len(before.batch_stats)) == (0, 0, 0)
    for images in (1, 3, 8):
        await oip.ModelInfer(photos(*range(images)))
    with pytest.raises(grpc.aio.AioRpcError):
        await oip.ModelInfer(files(png(1).encoded, b"no image"))
    [counted] = (await oip.ModelStatistics(request)).model_stats
    stats, batches = counted.inference_stats, sample("batch_images_count")
    assert counted.inference_count == stats.success.count == sample("images_total", outcome="ok")
    assert counted.inference_count == 13
    assert stats.fail.count == sample("images_total", outcome="invalid") == 1
    assert counted.execution_count == batches
    assert sum(one.compute_infer.count for one in counted.batch_stats) == batches
    assert sum(one.batch_size * one.compute_infer.count for one in counted.batch_stats) == sample(
        "batch_images_sum"
    )
    for duration, stage in ((stats.compute_input, "decode"), (stats.compute_infer, "infer")):
        assert duration.count == 13
        assert duration.ns == pytest.approx(1e9 * sample("stage_seconds_sum", stage=stage), abs=10)
    parts = (stats.queue, stats.compute_input, stats.compute_infer, stats.compute_output)
    assert sum(part.ns for part in parts) == pytest.approx(stats.success.ns, abs=10)
    assert abs(time.time() * 1000 - counted.last_inference) < 60_000


async def test_both_names_of_a_model_have_its_statistics(oip: "Stub") -> None:
    await oip.ModelInfer(photos(1))
    found = {
        name: (await oip.ModelStatistics(pb.ModelStatisticsRequest(name=name))).model_stats
        for name in ("tiny", "tiny_pixels")
    }
    assert {name: [one.name for one in stats] for name, stats in found.items()} == {
        "tiny": ["tiny"],
        "tiny_pixels": ["tiny_pixels"],
    }
    assert {stats[0].inference_count for stats in found.values()} == {1}
