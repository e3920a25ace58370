"""What only the HTTP clients of tritonclient do: JSON tensors, compression, one body of bytes."""

import asyncio
import http.client
import json

import numpy as np
import pytest
from callers import FILES, HTTP, MODEL, PIXELS, TRUTH, encoded
from tritonclient import http as triton
from tritonclient.http import aio
from tritonclient.utils import InferenceServerException

GREY = np.full((2, 28, 28, 3), 128, np.uint8)


@pytest.fixture
def client():
    with triton.InferenceServerClient(HTTP, concurrency=4) as client:
        yield client


def given(array, **flags):
    datatype = "BYTES" if array.dtype == np.object_ else "UINT8"
    given = triton.InferInput("images", list(array.shape), datatype)
    given.set_data_from_numpy(array, **flags)
    return [given]


def post(body, **headers):
    """Post to the model's `infer` and return the status and the parsed answer."""
    connection = http.client.HTTPConnection(HTTP)
    connection.request("POST", f"/v2/models/{MODEL}/infer", body, headers)
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    return answer.status, said


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("model", [MODEL, PIXELS])
def test_tensors_may_be_json(client, model, binary_in, binary_out):
    outputs = [triton.InferRequestedOutput("probabilities", binary_data=binary_out)]
    found = client.infer(model, given(GREY, binary_data=binary_in), outputs=outputs)
    plain = client.infer(model, given(GREY)).as_numpy("probabilities")
    assert np.allclose(found.as_numpy("probabilities"), plain, atol=1e-6)


def test_classes_may_be_json(client):
    outputs = [triton.InferRequestedOutput("probabilities", binary_data=False, class_count=2)]
    [output] = client.infer(MODEL, given(encoded(FILES)), outputs=outputs).get_response()["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [12, 2])
    assert [int(word.split(":")[1]) for word in output["data"][::2]] == TRUTH


def test_calls_in_the_background_get_their_answers(client):
    calls = [client.async_infer(MODEL, given(encoded([file]))) for file in FILES]
    found = [int(call.get_result().as_numpy("probabilities").argmax()) for call in calls]
    assert found == TRUTH


def test_a_caller_who_leaves_costs_nobody_anything(client):
    async def leave():
        async with aio.InferenceServerClient(HTTP) as leaving:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(leaving.infer(MODEL, given(encoded(FILES * 10))), 0.01)

    asyncio.run(leave())
    found = client.infer(MODEL, given(encoded(FILES))).as_numpy("probabilities")
    assert found.argmax(axis=1).tolist() == TRUTH


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_request_may_be_compressed(client, algorithm):
    found = client.infer(MODEL, given(encoded(FILES)), request_compression_algorithm=algorithm)
    assert found.as_numpy("probabilities").argmax(axis=1).tolist() == TRUTH


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_client_may_ask_for_a_compressed_answer(client, algorithm):
    found = client.infer(MODEL, given(encoded(FILES)), response_compression_algorithm=algorithm)
    assert found.as_numpy("probabilities").argmax(axis=1).tolist() == TRUTH


def test_the_body_of_the_request_may_be_the_image():
    status, said = post(FILES[0], **{"Inference-Header-Content-Length": "0"})
    assert status == 200
    [output] = said["outputs"]
    assert output["shape"] == [1, 10]
    assert int(np.argmax(output["data"])) == TRUTH[0]


def test_lengths_of_files_may_stand_before_them():
    """The way of OpenVINO Model Server's sample client: BYTES of shape [n], JSON back."""
    files = b"".join(len(file).to_bytes(4, "little") + file for file in FILES)
    tensor = {"name": "images", "shape": [len(FILES)], "datatype": "BYTES"}
    tensor["parameters"] = {"binary_data_size": len(files)}
    head = json.dumps({"inputs": [tensor]}).encode()
    status, said = post(head + files, **{"Inference-Header-Content-Length": str(len(head))})
    assert status == 200
    [output] = said["outputs"]
    found = np.reshape(output["data"], output["shape"])
    assert found.argmax(axis=1).tolist() == TRUTH


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"{", {}),
        (b"[]", {}),
        (b"{}", {}),
        (b'{"inputs": []}', {}),
        (b'{"inputs": [{"name": "images", "shape": [1], "datatype": "BYTES"}]}', {}),
        (b"{}", {"Inference-Header-Content-Length": "100"}),
        (b"{}", {"Inference-Header-Content-Length": "-1"}),
        (b"{}", {"Inference-Header-Content-Length": "x"}),
        (b"no image", {"Inference-Header-Content-Length": "0"}),
        (b"", {"Inference-Header-Content-Length": "0"}),
    ],
)
def test_a_bad_body_is_refused_with_a_sentence(body, headers):
    status, said = post(body, **headers)
    assert status == 400
    assert list(said) == ["error"]
    assert len(said["error"].split()) > 3


def test_an_error_is_the_exception_of_the_client(client):
    with pytest.raises(InferenceServerException) as caught:
        client.infer("nothing", given(encoded(FILES)))
    assert caught.value.status() == "404"
    assert "nothing" in caught.value.message()
