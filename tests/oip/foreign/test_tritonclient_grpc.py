"""What only the gRPC clients of tritonclient do: streams, callbacks, cancelling, compression."""

import asyncio
import queue

import numpy as np
import pytest
from callers import FILES, GRPC, MODEL, PIXELS, TRUTH, encoded
from tritonclient import grpc
from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException

MANY = encoded(FILES * 10)


@pytest.fixture
def client():
    with grpc.InferenceServerClient(GRPC) as client:
        yield client


def given(array, module=grpc):
    datatype = "BYTES" if array.dtype == np.object_ else "UINT8"
    given = module.InferInput("images", list(array.shape), datatype)
    given.set_data_from_numpy(array)
    return [given]


class Answers(queue.SimpleQueue):
    """Holds what a client gives to its callback: an answer or an error."""

    def take(self, result, error):
        self.put(error if error is not None else result)

    def next(self):
        return self.get(timeout=60)


def test_a_callback_gets_the_answer(client):
    answers = Answers()
    for i in range(len(FILES)):
        answers_of = lambda result, error, i=i: answers.put((i, error or result))  # noqa: E731
        client.async_infer(MODEL, given(encoded(FILES[i : i + 1])), answers_of)
    found = dict(answers.next() for _ in FILES)
    assert [int(found[i].as_numpy("probabilities").argmax()) for i in range(len(FILES))] == TRUTH


def test_a_cancelled_call_costs_nobody_anything(client):
    answers = Answers()
    client.async_infer(MODEL, given(MANY), answers.take).cancel()
    error = answers.next()
    assert isinstance(error, InferenceServerException)
    assert error.status() == "StatusCode.CANCELLED"
    assert client.infer(MODEL, given(encoded(FILES))).as_numpy("probabilities").shape[0] == 12


def test_the_deadline_of_the_client_rules(client):
    with pytest.raises(InferenceServerException) as caught:
        client.infer(MODEL, given(MANY), client_timeout=0.001)
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    # With both, the smaller one.
    with pytest.raises(InferenceServerException) as caught:
        client.infer(MODEL, given(MANY), client_timeout=30, timeout=1)
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_a_stream_answers_each_request_and_survives_a_bad_one(client):
    answers = Answers()
    client.start_stream(answers.take)
    for i, file in enumerate(FILES):
        client.async_stream_infer(MODEL, given(encoded([file])), request_id=str(i))
    client.async_stream_infer(MODEL, given(encoded([b"no image"])), request_id="bad")
    client.async_stream_infer(PIXELS, given(np.zeros((1, 28, 28, 3), np.uint8)), request_id="last")
    came = [answers.next() for _ in range(len(FILES) + 2)]
    client.stop_stream()
    [error] = [one for one in came if isinstance(one, InferenceServerException)]
    assert "image" in error.message()
    results = {one.get_response().id: one for one in came if one is not error}
    assert set(results) == {*map(str, range(len(FILES))), "last"}
    found = [int(results[str(i)].as_numpy("probabilities").argmax()) for i in range(len(FILES))]
    assert found == TRUTH


def test_an_asyncio_stream_answers_each_request():
    async def ask():
        async with aio.InferenceServerClient(GRPC) as client:

            async def requests():
                for i, file in enumerate(FILES):
                    array = encoded([file])
                    yield {
                        "model_name": MODEL,
                        "inputs": given(array, aio),
                        "request_id": str(i),
                    }

            found = {}
            async for result, error in client.stream_infer(requests()):
                assert error is None
                found[result.get_response().id] = int(result.as_numpy("probabilities").argmax())
            return found

    assert asyncio.run(ask()) == {str(i): index for i, index in enumerate(TRUTH)}


def test_a_compressed_request_is_refused_with_a_sentence(client):
    """Images are compressed already, and gRPC would inflate them without a bound."""
    with pytest.raises(InferenceServerException) as caught:
        client.infer(MODEL, given(encoded(FILES)), compression_algorithm="gzip")
    assert caught.value.status() == "StatusCode.UNIMPLEMENTED"
    assert "disabled" in caught.value.message()


def test_typed_contents_are_read_as_well_as_raw_ones():
    """The way of OpenVINO Model Server's sample clients: the stub itself, BYTES of shape [n]."""
    from grpc import insecure_channel
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    request = service_pb2.ModelInferRequest(model_name=MODEL)
    tensor = request.inputs.add(name="images", datatype="BYTES", shape=[len(FILES)])
    tensor.contents.bytes_contents.extend(FILES)
    request.outputs.add(name="probabilities")
    with insecure_channel(GRPC) as channel:
        answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    [output] = answer.outputs
    assert (output.name, output.datatype) == ("probabilities", "FP32")
    found = np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(output.shape)
    assert found.argmax(axis=1).tolist() == TRUTH
