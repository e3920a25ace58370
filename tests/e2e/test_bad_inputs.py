"""What is no image: a clear refusal, and no harm to a good image beside it."""

import io
import random

import grpc
import pytest
from PIL import Image

from clients.client import ClassifierClient
from clients.errors import RequestError
from clients.types import ImageFailure, Prediction
from protos import classifier_pb2 as pb
from protos.classifier_pb2_grpc import ClassifierStub
from tests.support.paths import SAMPLES
from tests.support.process import Server

GOOD = next(SAMPLES.glob("sneaker_*.png"))


def truncated_jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((500, 375), 60).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()[:-2000]


def huge_png() -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(buffer, "PNG")
    return buffer.getvalue()


BAD = {
    "truncated": (truncated_jpeg, "truncated"),
    "noise": (lambda: random.Random(0).randbytes(20_000_000), "JPEG, PNG, WEBP, BMP"),
    "empty": (lambda: b"", "empty"),
    "huge": (huge_png, "30000"),
    "text": (lambda: b"Dear server, here is no picture.\n", "JPEG, PNG, WEBP, BMP"),
}


@pytest.mark.parametrize("name", BAD)
def test_is_refused_alone(shipped_server: Server, name: str) -> None:
    make, hint = BAD[name]
    with (
        ClassifierClient(shipped_server.grpc) as client,
        pytest.raises(RequestError, match=hint) as refused,
    ):
        client.classify([make()])
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("name", BAD)
def test_does_not_hurt_a_good_image(shipped_server: Server, name: str) -> None:
    make, hint = BAD[name]
    with ClassifierClient(shipped_server.grpc) as client:
        before, bad, after = client.classify([GOOD, make(), GOOD])
    assert isinstance(bad, ImageFailure)
    assert bad.code is grpc.StatusCode.INVALID_ARGUMENT
    assert hint in bad.message
    for good in (before, after):
        assert isinstance(good, Prediction)
        assert good.classes[0].label == "Sneaker"


def test_an_empty_message_says_what_to_send(shipped_server: Server) -> None:
    with (
        grpc.insecure_channel(shipped_server.grpc) as channel,
        pytest.raises(grpc.RpcError, match="image") as refused,
    ):
        ClassifierStub(channel).Classify(pb.ClassifyRequest(), timeout=10)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
