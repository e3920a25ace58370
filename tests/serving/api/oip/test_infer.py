"""ModelInfer on a real server of a real runtime."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import pytest_asyncio

from protos import open_inference_pb2 as pb
from serving.api import image_service
from serving.server import Server
from tests.serving.api.messages import expected, png
from tests.serving.api.oip.conftest import inferring
from tests.serving.api.oip.messages import (
    INPUT,
    OUTPUT,
    files,
    infer,
    photos,
    pixels,
    rows,
    seen,
    strings,
)
from tests.support.bundles import SIDE, photo, probabilities
from tests.support.serving import running_server

if TYPE_CHECKING:
    from protos.open_inference_pb2_grpc import GRPCInferenceServiceAsyncStub as Stub


# One server for all of them.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tiny: Path) -> AsyncIterator[Server]:
    async with running_server(tiny) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def oip(server: Server) -> AsyncIterator["Stub"]:
    async with inferring(server) as calls:
        yield calls


async def refusal(stub: "Stub", request: pb.ModelInferRequest) -> tuple[grpc.StatusCode, str]:
    """Return code and message of a request that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.ModelInfer(request)
    return refused.value.code(), refused.value.details() or ""


def same(response: pb.ModelInferResponse, *seeds: int) -> bool:
    """Whether a response has the probabilities of photos."""
    return bool(np.allclose(rows(response), probabilities(seen(*seeds)), atol=1e-6))


@pytest.mark.parametrize("rank", [1, 2])
async def test_image_files(oip: "Stub", rank: int) -> None:
    response = await oip.ModelInfer(photos(1, 2, 3, rank=rank, id="seven"))
    assert same(response, 1, 2, 3)
    assert (response.model_name, response.model_version, response.id) == ("tiny", "1", "seven")
    assert not response.parameters


async def test_image_files_in_contents(oip: "Stub") -> None:
    contents = pb.InferTensorContents(bytes_contents=[png(4).encoded, png(5).encoded])
    tensor = {"name": INPUT, "datatype": "BYTES", "shape": [2], "contents": contents}
    assert same(await oip.ModelInfer(pb.ModelInferRequest(inputs=[tensor])), 4, 5)


async def test_pixels_of_any_size_are_transformed(oip: "Stub") -> None:
    response = await oip.ModelInfer(pixels(np.stack([np.asarray(photo(n)) for n in (6, 7)])))
    assert same(response, 6, 7)


async def test_pixels_as_the_network_sees_them(oip: "Stub") -> None:
    response = await oip.ModelInfer(pixels(seen(1, 2), model_name="tiny_pixels"))
    assert same(response, 1, 2)
    assert response.model_name == "tiny_pixels"


async def test_pixels_in_contents(oip: "Stub") -> None:
    images = seen(3)
    contents = pb.InferTensorContents(uint_contents=images.ravel().tolist())
    tensor = {"name": INPUT, "datatype": "UINT8", "shape": images.shape, "contents": contents}
    request = pb.ModelInferRequest(model_name="tiny_pixels", inputs=[tensor])
    assert same(await oip.ModelInfer(request), 3)


async def test_classes_as_strings(oip: "Stub") -> None:
    for most in (1, 2, 6, 1000):
        request = photos(1, 2)
        request.outputs.add(name=OUTPUT).parameters["classification"].int64_param = most
        response = await oip.ModelInfer(request)
        count = min(most, 6)
        assert list(response.outputs[0].shape) == [2, count]
        wanted = [one for seed in (1, 2) for one in expected(seed)[:count]]
        for text, (index, label, probability) in zip(strings(response), wanted, strict=True):
            value, place, name = text.split(":")
            assert (int(place), name) == (index, label)
            assert float(value) == pytest.approx(probability, abs=1e-6)


async def test_many_strings_are_made_in_a_thread_of_their_own(
    oip: "Stub", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_service, "MANY_CLASSES", 1)
    request = photos(1)
    request.outputs.add(name=OUTPUT).parameters["classification"].int64_param = 2
    assert len(strings(await oip.ModelInfer(request))) == 2


async def test_an_output_may_be_named(oip: "Stub") -> None:
    request = photos(1)
    request.outputs.add(name=OUTPUT)
    assert same(await oip.ModelInfer(request), 1)


async def test_parameters_of_others_are_ignored(oip: "Stub") -> None:
    request = photos(1, model_version="1")
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    request.parameters["priority"].uint64_param = 1
    request.parameters["sequence_id"].string_param = "a"
    request.parameters["timeout"].int64_param = 0
    request.inputs[0].parameters["content_type"].string_param = "np"
    assert same(await oip.ModelInfer(request), 1)


def with_parameter(where: str, name: str, **value: Any) -> pb.ModelInferRequest:
    request = photos(1)
    request.outputs.add(name=OUTPUT)
    holder = {"request": request, "input": request.inputs[0], "output": request.outputs[0]}[where]
    holder.parameters[name].MergeFrom(pb.InferParameter(**value))
    return request


def without_data(**parameters: pb.InferParameter) -> pb.ModelInferRequest:
    tensor = {"name": INPUT, "datatype": "BYTES", "shape": [1], "parameters": parameters}
    return pb.ModelInferRequest(inputs=[tensor])


def in_elements() -> pb.ModelInferRequest:
    contents = {"bytes_contents": [bytes(48)]}
    tensor = {"name": INPUT, "datatype": "UINT8", "shape": [1, 4, 4, 3], "contents": contents}
    return pb.ModelInferRequest(inputs=[tensor])


def with_outputs(*names: str) -> pb.ModelInferRequest:
    request = photos(1)
    for name in names:
        request.outputs.add(name=name)
    return request


REGION = pb.InferParameter(string_param="region")
IMAGES = np.zeros((2, SIDE, SIDE, 3), np.uint8)
CASES: list[tuple[pb.ModelInferRequest, str]] = [
    (pb.ModelInferRequest(), "the request has 0 inputs; model 'tiny' takes one, 'images'"),
    (without_data(), "an input has neither raw_input_contents nor contents"),
    (without_data(shared_memory_region=REGION), "this server has no shared memory"),
    (in_elements(), "input 'images' of UINT8 holds elements of BYTES; send its bytes"),
    (infer("BYTES", [1], bytes(3)), "element 0 is cut off"),
    (infer("BYTES", [1], b"\5\0\0\0four"), "says that 5 follow; 8 are left for both"),
    (infer("BYTES", [2], b"\1\0\0\0x"), "holds 1 elements, and its shape states 2"),
    (infer("BYTES", [1], b"\1\0\0\0x\0\0\0\0"), "4 bytes follow the 1 elements"),
    (infer("BYTES", [1, 2], b""), "'images' is 'BYTES' [1, 2]; model 'tiny' takes BYTES [-1, 1]"),
    (infer("BYTES", [0], b""), "'images' is 'BYTES' [0]"),
    (infer("BYTES", [-1], b""), "'images' is 'BYTES' [-1]"),
    (infer("BYTES", [2**40], b""), "'images' is 'BYTES' [1099511627776]"),
    (infer("BYTES", [], b""), "'images' is 'BYTES' []"),
    (infer("BYTES", [129], b""), "holds 129 images; this server takes at most 128 per request"),
    (infer("FP32", [1, 4, 4, 3], bytes(192)), "'images' is 'FP32' [1, 4, 4, 3]"),
    (infer("UINT8", [4, 4, 3], bytes(48)), "'images' is 'UINT8' [4, 4, 3]"),
    (infer("UINT8", [1, 4, 4, 1], bytes(16)), "or UINT8 [-1, height, width, 3]"),
    (infer("UINT8", [1, 4, 4, 3], bytes(47)), "has 47 bytes; its shape [1, 4, 4, 3] of UINT8 asks"),
    (infer("UINT8", [1, 2**20, 2**20, 3], bytes(47)), f"asks for {3 * 2**40}"),
    (files(b"x", model_name="tiny_pixels"), "model 'tiny_pixels' takes UINT8 [-1, 16, 16, 3]"),
    (pixels(IMAGES[:, :8], model_name="tiny_pixels"), "'images' is 'UINT8' [2, 8, 16, 3]"),
    (
        with_outputs("scores"),
        "no output 'scores'; its only one is 'probabilities'",
    ),
    (with_outputs(OUTPUT, OUTPUT), "output 'probabilities' is requested 2 times"),
    (with_parameter("request", "timeout", int64_param=-1), "the parameter `timeout` is -1"),
    (with_parameter("request", "timeout", string_param="1"), "the parameter `timeout` is '1'"),
    (with_parameter("output", "classification", int64_param=0), "`classification` of output"),
    (with_parameter("output", "classification", string_param="x"), "it must be a number"),
    (with_parameter("output", "shared_memory_region", string_param="x"), "to shared memory"),
    (photos(1, id="x" * 1025), "`id` has 1025 bytes"),
    (photos(1, model_name="x" * 1025), "`model` has 1025 bytes"),
]


async def test_what_is_wrong_is_said(oip: "Stub") -> None:
    for request, why in CASES:
        code, details = await refusal(oip, request)
        assert why in details
        assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_input_of_another_name_is_told_the_right_one(oip: "Stub") -> None:
    request = photos(1)
    request.inputs[0].name = "x" * 9000
    code, details = await refusal(oip, request)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "it takes one, 'images'" in details
    assert len(details) < 300


async def test_one_bad_image_fails_the_request_and_is_named(oip: "Stub") -> None:
    good = png(1).encoded
    code, details = await refusal(oip, files(good, b"no image", good))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith("image 1: 8 bytes are not an image")
    assert (await refusal(oip, files(b"no image")))[1].startswith("8 bytes are not an image")


async def test_an_unknown_model_is_told_what_is_there(oip: "Stub") -> None:
    for model, version, hint in (
        ("nose", "", "loaded: tiny"),
        ("nose_pixels", "", "loaded: tiny"),
        ("tiny", "7", "loaded: 1"),
        ("tiny_pixels", "7", "loaded: 1"),
    ):
        code, details = await refusal(oip, photos(1, model_name=model, model_version=version))
        assert code is grpc.StatusCode.NOT_FOUND
        assert hint in details


async def test_a_bug_is_told_as_an_id(
    oip: "Stub", server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server.repository.get("", ""), "submit", None)
    code, details = await refusal(oip, photos(1))
    assert code is grpc.StatusCode.INTERNAL
    assert details in caplog.text
