import threading
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from protos import classifier_pb2 as pb
from serving.api import classify, image_service
from serving.api.messages import to_response
from serving.server import Server
from tests.serving.api.messages import expected, png, raw
from tests.support.bundles import LABELS, SIDE, TRANSFORM

if TYPE_CHECKING:
    from protos.classifier_pb2_grpc import ClassifierAsyncStub as Stub

DIGEST = r"sha256:[0-9a-f]{64}"


async def refusal(stub: "Stub", request: pb.ClassifyRequest) -> tuple[grpc.StatusCode, str]:
    """Return code and message of a request that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Classify(request)
    return refused.value.code(), refused.value.details() or ""


def same(result: pb.Result, seed: int) -> bool:
    """Whether a result holds the classes of a photo, as many as it has."""
    wanted = expected(seed)[: len(result.classes)]
    found = [(c.index, c.label, pytest.approx(c.probability, abs=1e-6)) for c in result.classes]
    return wanted == found


async def test_one_image(stub: "Stub", server: Server) -> None:
    response = await stub.Classify(pb.ClassifyRequest(images=[png(1)], top_k=3, id="seven"))
    [result] = response.results
    assert len(result.classes) == 3
    assert same(result, 1)
    assert not result.HasField("status")
    assert not result.probabilities
    digest = server.repository.get("", "").bundle.digest
    assert (response.model, response.version, response.digest) == ("tiny", "1", digest)
    assert response.id == "seven"


@pytest.mark.parametrize(("top_k", "at_once"), [(1, True), (0, False)])
async def test_a_response_of_many_classes_is_built_in_a_thread_of_its_own(
    stub: "Stub", monkeypatch: pytest.MonkeyPatch, top_k: int, at_once: bool
) -> None:
    threads = []

    def build(*arguments: Any) -> pb.ClassifyResponse:
        threads.append(threading.current_thread())
        return to_response(*arguments)

    monkeypatch.setattr(image_service, "MANY_CLASSES", 2)
    monkeypatch.setattr(classify, "to_response", build)
    response = await stub.Classify(pb.ClassifyRequest(images=[png(1), png(2)], top_k=top_k))
    assert all(same(result, seed) for result, seed in zip(response.results, (1, 2), strict=True))
    assert ["_serve" in thread.name for thread in threads] == [at_once]  # gRPC's thread


async def test_its_timing_adds_up(stub: "Stub") -> None:
    response = await stub.Classify(pb.ClassifyRequest(images=[png(1)]))
    timing = response.results[0].timing
    stages = (timing.admission_ms, timing.decode_ms, timing.queue_ms, timing.infer_ms)
    assert all(stage > 0 for stage in stages)
    assert timing.total_ms == pytest.approx(sum(stages))
    assert timing.batch_images == 1


async def test_many_images_in_order(stub: "Stub") -> None:
    seeds = range(40)
    response = await stub.Classify(pb.ClassifyRequest(images=[png(seed) for seed in seeds]))
    assert len(response.results) == 40
    for seed, result in zip(seeds, response.results, strict=True):
        assert same(result, seed)


async def test_pixels_give_what_the_file_gives(stub: "Stub") -> None:
    response = await stub.Classify(pb.ClassifyRequest(images=[png(5), raw(5)]))
    assert response.results[0].classes == response.results[1].classes


@pytest.mark.parametrize(("top_k", "classes"), [(0, 6), (1, 1), (5, 5), (6, 6), (100, 6)])
async def test_top_k_is_at_most_all(stub: "Stub", top_k: int, classes: int) -> None:
    response = await stub.Classify(pb.ClassifyRequest(images=[png(2)], top_k=top_k))
    assert len(response.results[0].classes) == classes
    assert same(response.results[0], 2)


async def test_full_probabilities_are_in_label_order(stub: "Stub") -> None:
    request = pb.ClassifyRequest(images=[png(3)], top_k=1, full_probabilities=True)
    [result] = (await stub.Classify(request)).results
    by_index = [probability for _, _, probability in sorted(expected(3))]
    assert list(result.probabilities) == pytest.approx(by_index, abs=1e-6)
    assert sum(result.probabilities) == pytest.approx(1)


async def test_one_bad_image_among_good_ones_fails_alone(stub: "Stub") -> None:
    images = [png(1), pb.Image(encoded=b"no image"), pb.Image(), png(2)]
    response = await stub.Classify(pb.ClassifyRequest(images=images))
    first, text, nothing, last = response.results
    assert same(first, 1)
    assert same(last, 2)
    for reason, bad in (("8 bytes are not an image", text), ("the image is empty", nothing)):
        assert bad.status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        assert bad.status.message.startswith(reason)
        assert not bad.classes
        assert not bad.HasField("timing")


async def test_one_bad_image_alone_fails_the_call(stub: "Stub") -> None:
    code, details = await refusal(stub, pb.ClassifyRequest(images=[pb.Image(encoded=b"text")]))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "JPEG, PNG, WEBP, BMP" in details


async def test_an_empty_request_is_told_what_to_send(stub: "Stub") -> None:
    code, details = await refusal(stub, pb.ClassifyRequest())
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "send at least one in `images`" in details


async def test_too_many_images_are_told_the_limit(stub: "Stub") -> None:
    model = await stub.GetModel(pb.GetModelRequest())
    images = [png(1)] * (model.max_images_per_request + 1)
    code, details = await refusal(stub, pb.ClassifyRequest(images=images))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert f"at most {model.max_images_per_request} per request" in details


@pytest.mark.parametrize(
    ("model", "version", "hint"), [("nose", "", "loaded: tiny"), ("tiny", "7", "loaded: 1")]
)
async def test_an_unknown_model_is_told_what_is_there(
    stub: "Stub", model: str, version: str, hint: str
) -> None:
    request = pb.ClassifyRequest(images=[png(1)], model=model, version=version)
    code, details = await refusal(stub, request)
    assert code is grpc.StatusCode.NOT_FOUND
    assert hint in details


@pytest.mark.parametrize("field", ["id", "model", "version"])
async def test_a_name_that_is_too_long_is_refused(stub: "Stub", field: str) -> None:
    request = pb.ClassifyRequest(images=[png(1)], **{field: "x" * 1025})
    code, details = await refusal(stub, request)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details == f"`{field}` has 1025 bytes; it may have at most 1024"


async def test_a_message_that_is_too_large_is_refused(stub: "Stub") -> None:
    image = pb.Image(encoded=bytes(33 * 2**20))
    code, details = await refusal(stub, pb.ClassifyRequest(images=[image]))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(32 * 2**20) in details


async def test_a_bug_is_told_as_an_id_and_logged(
    stub: "Stub",
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(server.repository.get("", ""), "submit", None)
    code, details = await refusal(stub, pb.ClassifyRequest(images=[png(1)]))
    assert code is grpc.StatusCode.INTERNAL
    assert details in caplog.text
    assert "TypeError" in caplog.text
    assert "TypeError" not in details


async def test_the_model_describes_itself(stub: "Stub") -> None:
    model = await stub.GetModel(pb.GetModelRequest(model="tiny", version="1"))
    assert (model.name, model.version, model.architecture) == ("tiny", "1", "mean_and_matrix")
    assert (model.runtime, model.device, model.precision) == ("onnxruntime", "cpu", "fp32")
    assert (model.height, model.width) == (SIDE, SIDE)
    assert list(model.labels) == LABELS
    assert list(model.buckets) == [1, 2, 4, 8]
    assert type(TRANSFORM).model_validate_json(model.transform_json) == TRANSFORM
    assert model.ready
    assert list((await stub.ListModels(pb.ListModelsRequest())).models) == [model]


async def test_an_unknown_model_cannot_be_described(stub: "Stub") -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="no model 'nose'") as refused:
        await stub.GetModel(pb.GetModelRequest(model="nose"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
