"""Through Ray's proxies, callers get what the single server gives them."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import pytest
from cluster import IMAGE, SAMPLES, Nodes, deploy

from clients import ClassifierClient, ClassifierError, ImageFailure, Prediction
from protos import classifier_pb2 as pb
from protos import open_inference_pb2 as oip
from protos.classifier_pb2_grpc import ClassifierStub
from protos.open_inference_pb2_grpc import GRPCInferenceServiceStub
from tests.support.process import Server

IMAGES = [path.read_bytes() for path in sorted(SAMPLES.glob("*.png"))]
MODEL = "fashion_resnext"


@pytest.fixture(scope="module", autouse=True)
def _deployed(nodes: Nodes) -> None:
    deploy(num_replicas=2)


@pytest.fixture(scope="module")
def both(nodes: Nodes, server: Server) -> Iterator[Sequence[grpc.Channel]]:
    """Channels to Ray's proxy and to the server."""
    with grpc.insecure_channel(nodes.grpc) as ray, grpc.insecure_channel(server.grpc) as plain:
        yield ray, plain


def posted(url: str, body: bytes, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_classes_and_probabilities(nodes: Nodes, server: Server) -> None:
    with ClassifierClient(nodes.grpc, ray=True) as ray, ClassifierClient(server.grpc) as plain:
        for image in IMAGES:
            [one] = ray.classify([image], top_k=0, full_probabilities=True)
            [other] = plain.classify([image], top_k=0, full_probabilities=True)
            assert isinstance(one, Prediction)
            assert isinstance(other, Prediction)
            assert one.classes == other.classes
            assert one.probabilities == other.probabilities
            assert one.digest == other.digest
        assert ray.get_model() == plain.get_model()
        assert ray.list_models() == plain.list_models()
        assert ray.list_versions() == plain.list_versions()


def test_a_client_that_knows_nothing_of_ray(nodes: Nodes) -> None:
    with ClassifierClient(nodes.grpc) as client:
        [result] = client.classify([IMAGE])
        assert isinstance(result, Prediction)
        assert result.classes[0].label == "Bag"


def told(address: str, images: list[bytes], **options: Any) -> tuple[grpc.StatusCode, str]:
    with (
        ClassifierClient(address, ray=True) as client,
        pytest.raises(ClassifierError) as raised,
    ):
        client.classify(images, request_id="mine", **options)
    assert raised.value.request_id == "mine"
    return raised.value.code, raised.value.message


@pytest.mark.parametrize(
    ("images", "options", "code"),
    [
        ([b"no image"], {}, grpc.StatusCode.INVALID_ARGUMENT),
        ([IMAGE], {"model": "nobody"}, grpc.StatusCode.NOT_FOUND),
        ([IMAGE], {"version": "77"}, grpc.StatusCode.NOT_FOUND),
        ([IMAGE] * 129, {}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_what_fails_is_told_in_the_same_words(
    nodes: Nodes, server: Server, images: list[bytes], options: Any, code: grpc.StatusCode
) -> None:
    error = told(nodes.grpc, images, **options)
    assert error == told(server.grpc, images, **options)
    assert error[0] is code


def test_a_bad_image_among_others_fails_alone(nodes: Nodes) -> None:
    with ClassifierClient(nodes.grpc, ray=True) as client:
        first, second = client.classify([b"no image", IMAGE])
    assert isinstance(first, ImageFailure)
    assert first.code is grpc.StatusCode.INVALID_ARGUMENT
    assert isinstance(second, Prediction)


def test_labels_and_loading_are_not_for_one_replica_of_several(nodes: Nodes) -> None:
    with ClassifierClient(nodes.grpc, ray=True) as client:
        for change in (
            lambda: client.set_label(MODEL, "stable", "1"),
            lambda: client.unload_model(MODEL),
        ):
            with pytest.raises(ClassifierError) as raised:
                change()
            assert raised.value.code is grpc.StatusCode.FAILED_PRECONDITION


def in_time(channel: grpc.Channel, timeout_ms: int) -> bool:
    """Whether no deadline ends any of many images, for a caller whose only deadline is metadata."""
    request = pb.ClassifyRequest(images=[pb.Image(encoded=image) for image in IMAGES * 10])
    ask = ClassifierStub(channel).Classify
    try:
        answer = ask(request, metadata=[("x-request-timeout-ms", str(timeout_ms))])
    except grpc.RpcError as error:
        return error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
    late: int = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    return not any(result.status.code == late for result in answer.results)


def test_a_deadline_that_metadata_states_is_kept(both: Sequence[grpc.Channel]) -> None:
    """The plain server has no need of it, and goes by gRPC's own, of which there is none here."""
    ray, plain = both
    assert not in_time(ray, 1)
    assert in_time(ray, 60_000)
    assert in_time(plain, 1)


def test_a_deadline_that_is_none(both: Sequence[grpc.Channel]) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        ClassifierStub(both[0]).Classify(
            pb.ClassifyRequest(), metadata=[("x-request-timeout-ms", "soon")]
        )
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "must be milliseconds" in raised.value.details()


def test_a_stream(both: Sequence[grpc.Channel]) -> None:
    def requests() -> Iterator[pb.ClassifyRequest]:
        for number, image in enumerate([*IMAGES, b"no image"]):
            yield pb.ClassifyRequest(id=str(number), images=[pb.Image(encoded=image)], top_k=1)

    found = [
        {
            answer.id: (answer.status.code, [r.classes[0].index for r in answer.results])
            for answer in ClassifierStub(channel).ClassifyStream(requests(), timeout=60)
        }
        for channel in both
    ]
    assert found[0] == found[1]
    assert found[0][str(len(IMAGES))] == (3, [])
    assert len(found[0]) == len(IMAGES) + 1


def test_the_open_inference_protocol(both: Sequence[grpc.Channel]) -> None:
    tensor = oip.ModelInferRequest.InferInputTensor(name="images", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(IMAGE)
    request = oip.ModelInferRequest(model_name=MODEL, id="7", inputs=[tensor])
    ray, plain = map(GRPCInferenceServiceStub, both)
    assert ray.ModelInfer(request) == plain.ModelInfer(request)
    assert list(ray.ModelStreamInfer(iter([request]))) == list(
        plain.ModelStreamInfer(iter([request]))
    )
    ready = oip.ModelReadyRequest(name=MODEL)
    assert ray.ModelReady(ready) == plain.ModelReady(ready)
    asked = oip.ModelMetadataRequest(name=MODEL)
    assert ray.ModelMetadata(asked) == plain.ModelMetadata(asked)
    for stub in (ray, plain):
        with pytest.raises(grpc.RpcError) as raised:
            stub.SystemSharedMemoryStatus(oip.SystemSharedMemoryStatusRequest())
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_http(nodes: Nodes, server: Server) -> None:
    path, binary = f"/v2/models/{MODEL}/infer", {"Inference-Header-Content-Length": "0"}
    for body, code in ((IMAGE, 200), (b"no image", 400)):
        found = [posted(base + path, body, **binary) for base in (nodes.http, server.http)]
        assert found[0] == found[1]
        assert found[0][0] == code
    answers = [posted(f"{base}/v1/classify", IMAGE) for base in (nodes.http, server.http)]
    assert [answer[0] for answer in answers] == [200, 200]
    classes = [answer[1]["results"][0]["classes"] for answer in answers]
    assert classes[0] == classes[1]
    status, told = posted(f"{nodes.http}/v1/classify", IMAGE, **{"X-Request-Timeout-Ms": "0"})
    assert (status, "x-request-timeout-ms" in told["error"]) == (400, True)


def test_a_body_that_is_too_large(nodes: Nodes) -> None:
    status, told = posted(f"{nodes.http}/v1/classify", bytes(32 * 2**20 + 1))
    assert status == 413
    assert "max_message_bytes" in told["error"]
