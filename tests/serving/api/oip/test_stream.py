import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from protos import open_inference_pb2 as pb
from serving.server import Server
from tests.serving.api.oip.conftest import inferring
from tests.serving.api.oip.messages import flat, photos, rows, strings
from tests.support.serving import Gate, Rig, gated_server, until

if TYPE_CHECKING:
    from protos.open_inference_pb2_grpc import GRPCInferenceServiceAsyncStub as Stub

FINAL = "triton_final_response"


async def test_every_request_is_answered_with_its_id(tiny: Path) -> None:
    rig = Rig(tiny, gate=Gate(is_open=True))
    async with gated_server(rig) as server, inferring(server) as stub:
        call = stub.ModelStreamInfer(iter([flat(value, id=str(value)) for value in range(100)]))
        answers = {int(r.infer_response.id): rows(r.infer_response) async for r in call}
    assert {value: row.argmax() for value, row in answers.items()} == {
        value: value % 6 for value in range(100)
    }


async def test_a_failed_request_has_an_error_message_and_ends_nothing(oip: "Stub") -> None:
    requests = [
        pb.ModelInferRequest(id="empty"),
        photos(1, model_name="nose", id="unknown"),
        photos(1, id="good"),
    ]
    answers = {one.infer_response.id: one async for one in oip.ModelStreamInfer(iter(requests))}
    assert "the request has 0 inputs" in answers["empty"].error_message
    assert "no model 'nose'" in answers["unknown"].error_message
    assert not answers["good"].error_message
    assert not answers["empty"].infer_response.outputs
    assert len(rows(answers["good"].infer_response)) == 1


async def test_a_response_says_that_it_is_the_last_one_if_asked(oip: "Stub") -> None:
    asking = photos(1, id="asking")
    asking.parameters["triton_enable_empty_final_response"].bool_param = True
    call = oip.ModelStreamInfer(iter([asking, photos(1, id="silent")]))
    answers = {one.infer_response.id: one.infer_response.parameters async for one in call}
    assert answers["asking"][FINAL].bool_param
    assert FINAL not in answers["silent"]


async def test_classes_in_a_stream(oip: "Stub") -> None:
    request = photos(1)
    request.outputs.add(name="probabilities").parameters["classification"].int64_param = 2
    [answer] = [one async for one in oip.ModelStreamInfer(iter([request]))]
    assert len(strings(answer.infer_response)) == 2


async def test_cancelling_the_stream_cancels_its_jobs(tiny: Path) -> None:
    rig = Rig(tiny)
    async with gated_server(rig) as server, inferring(server) as stub:
        call = stub.ModelStreamInfer(iter([flat(value) for value in range(8)]))
        await until(lambda: rig.sample("inflight_images") == 8)
        call.cancel()
        await until(lambda: rig.images("cancelled") == 8)


async def test_draining_ends_an_open_stream_after_its_answers(tiny: Path) -> None:
    rig = Rig(tiny)
    forever = asyncio.Event()

    async def requests() -> AsyncIterator[pb.ModelInferRequest]:
        yield flat(4, id="4")
        await forever.wait()

    async with gated_server(rig) as server, inferring(server) as stub:
        call = stub.ModelStreamInfer(requests())
        await rig.gate.wait()
        draining = asyncio.create_task(server.drain())
        rig.gate.open()
        assert (await call.read()).infer_response.id == "4"
        with pytest.raises(grpc.aio.AioRpcError, match="draining") as ended:
            await call.read()
        await draining
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_what_cannot_be_parsed_is_answered_and_ends_nothing(server: Server) -> None:
    async def messages() -> AsyncIterator[bytes]:
        yield b"\xff\xff"
        yield photos(1, id="well").SerializeToString()

    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc.port}") as channel:
        method: Any = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        answers = [pb.ModelStreamInferResponse.FromString(one) async for one in method(messages())]
    told = {answer.infer_response.id: answer.error_message for answer in answers}
    assert told == {"": "the message cannot be read as a ModelInferRequest", "well": ""}
