"""Both clients against a real gRPC server with scripted answers."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

import clients
from clients import (
    AsyncClassifierClient,
    ClassifierClient,
    ClassifierError,
    ClassScore,
    DeadlineError,
    ImageFailure,
    OverloadError,
    Prediction,
    RequestError,
    UnavailableError,
)
from clients.messages import MAX_MESSAGE_BYTES

Ask = Callable[..., Awaitable[Any]]


async def _ask_sync(address: str, method: str, *args: object, **options: object) -> Any:
    with ClassifierClient(address) as client:
        return await asyncio.to_thread(getattr(client, method), *args, **options)


async def _ask_async(address: str, method: str, *args: object, **options: object) -> Any:
    async with AsyncClassifierClient(address) as client:
        return await getattr(client, method)(*args, **options)


@pytest.fixture(params=[_ask_sync, _ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    ask: Ask = request.param
    return ask


async def test_every_kind_of_image_reaches_the_server(server, ask, tmp_path: Path):
    path = tmp_path / "x.png"
    path.write_bytes(b"file")
    rgb = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    grey = np.asfortranarray(np.arange(8, dtype=np.uint8).reshape(2, 4))

    await ask(server.address, "classify", [b"data", path, rgb, grey, rgb[:, :, :1]])

    encoded, read, colour, plane, channel = server.requests[0].images
    assert (encoded.encoded, read.encoded) == (b"data", b"file")
    assert (colour.raw.height, colour.raw.width, colour.raw.channels) == (2, 4, 3)
    assert colour.raw.pixels == bytes(range(24))
    assert (plane.raw.height, plane.raw.width, plane.raw.channels) == (2, 4, 1)
    assert plane.raw.pixels == bytes(range(8))
    assert channel.raw.pixels == bytes(range(0, 24, 3))


async def test_options_reach_the_server(server, ask):
    options = {"top_k": 2, "model": "m", "version": "7", "full_probabilities": True}
    await ask(server.address, "classify", [b"x"], **options)
    request = server.requests[0]
    assert {name: getattr(request, name) for name in options} == options


async def test_a_request_has_the_id_that_an_error_carries(server, ask):
    await ask(server.address, "classify", [b"x"], request_id="mine")
    assert server.request_ids == ["mine"]
    with pytest.raises(RequestError) as raised:
        await ask(server.address, "classify", [b"bad"], request_id="mine,too")
    assert raised.value.request_id == "mine,too"
    with pytest.raises(RequestError) as raised:
        await ask(server.address, "classify", [b"bad"])
    assert raised.value.request_id == "made"
    for refused in ("two\nlines", "é", "a b", "a" * 129):
        with pytest.raises(ValueError, match="visible ASCII"):
            await ask(server.address, "classify", [b"x"], request_id=refused)


async def test_results_are_typed_and_a_bad_image_fails_alone(server, ask):
    good, bad, _ = await ask(
        server.address, "classify", [b"x", b"bad", b"y"], top_k=1, full_probabilities=True
    )
    assert isinstance(good, Prediction)
    assert good.classes == (ClassScore(1, "Coat", 0.75),)
    assert good.probabilities == (0.125, 0.75, 0.125)
    assert (good.model, good.version, good.digest) == ("m", "2", "sha256:0")
    assert (good.timing.decode_ms, good.timing.total_ms, good.timing.batch_images) == (1.5, 4, 3)
    assert bad == ImageFailure(grpc.StatusCode.INVALID_ARGUMENT, "not an image")


async def test_models_are_described(server, ask):
    model = await ask(server.address, "get_model", "m", "1")
    assert (model.name, model.version, model.labels) == ("m", "1", ("Bag", "Coat", "Dress"))
    assert (model.buckets, model.top1, model.ready) == ((1, 8), 0.925, True)
    assert [m.version for m in await ask(server.address, "list_models")] == ["2"]
    with pytest.raises(RequestError, match="no model other; loaded: m"):
        await ask(server.address, "get_model", "other")


@pytest.mark.parametrize(
    ("stated", "task"), [("multilabel", "multilabel"), ("multiclass",) * 2, ("", "multiclass")]
)
async def test_a_model_says_whether_several_classes_may_be_right(server, ask, stated, task):
    """A server that is older than the field leaves it empty."""
    server.task = stated
    assert (await ask(server.address, "get_model")).task == task


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
async def test_what_is_no_number_is_no_class(server, ask, value):
    server.first = value
    results = await ask(server.address, "classify", [b"x", b"bad"])
    message = "the server's probabilities are no numbers"
    assert results[0] == ImageFailure(grpc.StatusCode.INTERNAL, message)
    with pytest.raises(ClassifierError, match=f"INTERNAL: {message}"):
        await ask(server.address, "classify", [b"x"])


@pytest.mark.parametrize(("options", "timeout_s"), [({}, 10.0), ({"timeout_s": 3.0}, 3.0)])
async def test_a_deadline_is_always_set(server, ask, options, timeout_s):
    await ask(server.address, "classify", [b"x"], **options)
    # gRPC rounds up what it sends; a busy machine may take long to send it.
    assert timeout_s / 2 < server.timeouts_s[0] < timeout_s + 1


async def test_a_late_answer_is_a_deadline_error(server, ask):
    server.may_answer.clear()
    with pytest.raises(DeadlineError):
        await ask(server.address, "classify", [b"x"], timeout_s=0.2)


@pytest.mark.parametrize("code", ["UNAVAILABLE", "CANCELLED"])
@pytest.mark.parametrize("size", [1, 2_000_000])
async def test_what_a_server_that_goes_refuses_is_tried_again(server, ask, code, size):
    server.fail(grpc.StatusCode[code], "draining")
    (result,) = await ask(server.address, "classify", [bytes(size)])
    assert isinstance(result, Prediction)
    assert len(server.requests) == 2


async def test_unavailable_for_good_gives_up_with_the_reason(server, ask):
    for _ in range(4):
        server.fail(grpc.StatusCode.UNAVAILABLE, "the server is loading")
    with pytest.raises(UnavailableError, match=r"^UNAVAILABLE: the server is loading$"):
        await ask(server.address, "classify", [b"x"])
    assert len(server.requests) == 4


async def test_overload_is_tried_again_when_the_server_says_when(server, ask):
    server.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "queue full", ("grpc-retry-pushback-ms", "1"))
    await ask(server.address, "classify", [b"x"])
    assert len(server.requests) == 2


async def test_overload_is_not_tried_again_when_the_server_forbids_it(server, ask):
    server.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "queue full", ("grpc-retry-pushback-ms", "-1"))
    with pytest.raises(OverloadError, match="queue full"):
        await ask(server.address, "classify", [b"x"])
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "INTERNAL", "DEADLINE_EXCEEDED"])
async def test_other_failures_are_not_tried_again(server, ask, code):
    server.fail(grpc.StatusCode[code], "no")
    with pytest.raises(ClassifierError) as caught:
        await ask(server.address, "classify", [b"x"])
    assert (caught.value.code, caught.value.message) == (grpc.StatusCode[code], "no")
    assert len(server.requests) == 1


async def test_a_missing_server_is_named_with_what_to_do(ask):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
        with pytest.raises(UnavailableError, match=rf"no server answers at {address} .*make serve"):
            await ask(address, "list_models")


async def test_too_few_results_are_an_error(server, ask):
    server.drop_results = True
    with pytest.raises(ClassifierError, match="0 results for 2 images"):
        await ask(server.address, "classify", [b"x", b"y"])


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ([], ValueError, "at least one"),
        (b"x", TypeError, "list of images, got one bytes"),
        (np.zeros((4, 4, 3), np.uint8), TypeError, "got one ndarray"),
        (["x.png"], TypeError, "bytes, a Path or a uint8 array, not str"),
        ([np.zeros((4, 4, 3), np.float32)], ValueError, r"uint8 .* got float32 \(4, 4, 3\)"),
        ([np.zeros((4, 4, 4), np.uint8)], ValueError, r"got uint8 \(4, 4, 4\)"),
        ([bytes(MAX_MESSAGE_BYTES)], ValueError, f"the limit is {MAX_MESSAGE_BYTES}"),
        ([Path("missing.png")], FileNotFoundError, r"missing\.png"),
    ],
)
async def test_what_cannot_be_sent_is_refused(server, ask, images, error, message):
    with pytest.raises(error, match=message):
        await ask(server.address, "classify", images)
    assert not server.requests


async def test_large_messages_pass(server, ask):
    (result,) = await ask(server.address, "classify", [bytes(20_000_000)])
    assert isinstance(result, Prediction)


def test_grpc_is_not_imported_before_it_is_needed() -> None:
    # `python -m clients` says something to gRPC, which reads it when it is imported.
    code = "import sys, clients; assert 'grpc' not in sys.modules; from clients import *"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_the_package_lacks_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'clients' has no attribute 'Nothing'"):
        clients.Nothing  # noqa: B018
