"""KServe's own clients, for gRPC and for REST in version 2 of the protocol."""

import asyncio

import grpc
import httpx
import numpy as np
import pytest
from callers import FILES, GRPC, HTTP, MODEL, PIXELS, TRUTH, encoded
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

BASE = f"http://{HTTP}"
GREY = np.full((2, 28, 28, 3), 128, np.uint8)


def asked(array, model=MODEL, **flags):
    """Return a request for an inference with one input."""
    datatype = "BYTES" if array.dtype == np.object_ else "UINT8"
    given = InferInput("images", list(array.shape), datatype)
    given.set_data_from_numpy(array, **flags)
    return InferRequest(model, [given], request_id="mine")


def over_grpc(ask):
    """Run a function of a client."""

    async def run():
        async with InferenceGRPCClient(GRPC, timeout=30) as client:
            return await ask(client)

    return asyncio.run(run())


def over_rest(ask):
    """Run a function of a client."""

    async def run():
        client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=30))
        try:
            return await ask(client)
        finally:
            await client.close()

    return asyncio.run(run())


def probabilities(answer):
    [output] = answer.outputs
    assert answer.model_name in (MODEL, PIXELS)
    assert output.name == "probabilities"
    return output.as_numpy()


def test_grpc_says_what_is_ready():
    assert over_grpc(lambda client: client.is_server_live())
    assert over_grpc(lambda client: client.is_server_ready())
    assert over_grpc(lambda client: client.is_model_ready(MODEL))
    assert over_grpc(lambda client: client.is_model_ready(PIXELS))


def test_rest_says_what_is_ready():
    assert over_rest(lambda client: client.is_server_live(BASE)) is True
    assert over_rest(lambda client: client.is_server_ready(BASE)) is True
    assert over_rest(lambda client: client.is_model_ready(BASE, MODEL)) is True


@pytest.mark.parametrize("flat", [False, True])
def test_grpc_classifies_encoded_images(flat):
    answer = over_grpc(lambda client: client.infer(asked(encoded(FILES, flat=flat))))
    assert answer.id == "mine"
    assert probabilities(answer).argmax(axis=1).tolist() == TRUTH


def test_grpc_classifies_pixels():
    for model in (MODEL, PIXELS):
        answer = over_grpc(lambda client, model=model: client.infer(asked(GREY, model)))
        assert probabilities(answer).shape == (2, 10)


@pytest.mark.parametrize("flat", [False, True])
def test_rest_classifies_encoded_images(flat):
    request = asked(encoded(FILES, flat=flat), binary_data=True)
    answer = over_rest(lambda client: client.infer(BASE, request, MODEL))
    assert answer.id == "mine"
    assert probabilities(answer).argmax(axis=1).tolist() == TRUTH


@pytest.mark.parametrize("binary", [True, False])
def test_rest_classifies_pixels(binary):
    request = asked(GREY, PIXELS, binary_data=binary)
    answer = over_rest(lambda client: client.infer(BASE, request, PIXELS))
    assert probabilities(answer).shape == (2, 10)


def test_errors_are_those_of_the_clients():
    bad = asked(encoded([FILES[0], b"no image"]))
    with pytest.raises(grpc.RpcError) as failed:
        over_grpc(lambda client: client.infer(bad))
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "1" in failed.value.details()
    with pytest.raises(httpx.HTTPStatusError, match="400 Bad Request"):
        over_rest(lambda client: client.infer(BASE, bad, MODEL))
    with pytest.raises(httpx.HTTPStatusError, match=r"nothing.*404 Not Found"):
        over_rest(lambda client: client.infer(BASE, asked(encoded(FILES)), "nothing"))
    with pytest.raises(grpc.RpcError) as failed:
        over_grpc(lambda client: client.infer(asked(encoded(FILES), "nothing")))
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_deadline_of_the_client_ends_the_call():
    many = asked(encoded(FILES * 10))
    with pytest.raises(grpc.RpcError) as failed:
        over_grpc(lambda client: client.infer(many, timeout=0.001))
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    with pytest.raises(httpx.TimeoutException):
        over_rest(lambda client: client.infer(BASE, many, MODEL, timeout=0.001))
