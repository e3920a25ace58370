import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from protos import classifier_pb2 as pb
from serving.api import stream
from serving.record.record import Record
from serving.server import Server
from tests.serving.api.conftest import calling
from tests.serving.api.messages import flat, png
from tests.support.serving import Gate, Rig, gated_server, until

if TYPE_CHECKING:
    from protos.classifier_pb2_grpc import ClassifierAsyncStub as Stub


def request(value: int) -> pb.ClassifyRequest:
    return pb.ClassifyRequest(images=[flat(value)], top_k=1, id=str(value))


async def test_every_request_is_answered_with_its_id(tiny: Path) -> None:
    rig = Rig(tiny, gate=Gate(is_open=True))
    async with gated_server(rig) as server, calling(server) as stub:
        call = stub.ClassifyStream(iter([request(value) for value in range(100)]))
        answers = {int(r.id): r.results[0].classes[0].index async for r in call}
    assert answers == {value: value % 6 for value in range(100)}


async def test_a_failed_request_is_a_status_and_ends_nothing(stub: "Stub") -> None:
    requests = [
        pb.ClassifyRequest(images=[pb.Image(encoded=b"text")], id="bad"),
        pb.ClassifyRequest(id="empty"),
        pb.ClassifyRequest(images=[png(1)], model="nose", id="unknown"),
        pb.ClassifyRequest(images=[png(1)], id="good"),
    ]
    answers = {answer.id: answer async for answer in stub.ClassifyStream(iter(requests))}
    assert {name: answer.status.code for name, answer in answers.items()} == {
        "bad": grpc.StatusCode.INVALID_ARGUMENT.value[0],
        "empty": grpc.StatusCode.INVALID_ARGUMENT.value[0],
        "unknown": grpc.StatusCode.NOT_FOUND.value[0],
        "good": 0,
    }
    assert len(answers["good"].results) == 1


async def test_requests_run_at_once_but_not_without_bound(tiny: Path) -> None:
    rig = Rig(tiny, slots=256)
    async with gated_server(rig) as server, calling(server) as stub:
        call = stub.ClassifyStream(iter([request(value) for value in range(200)]))
        await until(lambda: rig.sample("inflight_images") == 32)
        rig.gate.open()
        assert len([answer async for answer in call]) == 200


async def test_a_large_answer_waits_for_those_before_it(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MANY_CLASSES", 1)
    rig = Rig(tiny, slots=256)
    large = pb.ClassifyRequest(images=[flat(1)] * 8)
    async with gated_server(rig) as server, calling(server) as stub:
        call = stub.ClassifyStream(iter([large] * 3))
        await until(lambda: rig.sample("inflight_images") == 8)
        for _ in range(5):
            await stub.GetModel(pb.GetModelRequest())
            assert rig.sample("inflight_images") == 8
        rig.gate.open()
        assert len([answer async for answer in call]) == 3


async def test_cancelling_the_stream_cancels_its_jobs(tiny: Path) -> None:
    rig = Rig(tiny)
    async with gated_server(rig) as server, calling(server) as stub:
        call = stub.ClassifyStream(iter([request(value) for value in range(8)]))
        await until(lambda: rig.sample("inflight_images") == 8)
        call.cancel()
        await until(lambda: rig.images("cancelled") == 8)


async def test_each_request_that_was_read_has_a_record_however_the_stream_ends() -> None:
    """One is being answered, the next waits for a place."""
    closed: list[Record] = []
    call = SimpleNamespace(record=Record(closed.append, "id", "/m", 0.0, None, is_stream=True))
    read: list[Record | None] = []

    def reader(_: bytes, record: Record | None) -> stream.Pending:
        read.append(record)
        return stream.Pending(stream.PLACES, asyncio.Event().wait)  # type: ignore[arg-type]

    async def messages() -> AsyncIterator[bytes]:
        for message in (b"1", b"2", b"3"):
            yield message

    serving = stream.Stream(call, asyncio.Event(), reader)  # type: ignore[arg-type]
    task = asyncio.create_task(serving.serve(messages()))
    await until(lambda: len(read) == 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: len(closed) == 2)
    assert sorted(record.request_id for record in closed) == ["id/1", "id/2"]
    assert {record.code for record in closed} == {"CANCELLED"}


async def test_draining_ends_an_open_stream_after_its_answers(tiny: Path) -> None:
    rig = Rig(tiny)
    forever = asyncio.Event()

    async def requests() -> AsyncIterator[pb.ClassifyRequest]:
        yield request(4)
        await forever.wait()

    async with gated_server(rig) as server, calling(server) as stub:
        call = stub.ClassifyStream(requests())
        await rig.gate.wait()
        draining = asyncio.create_task(server.drain())
        rig.gate.open()
        assert (await call.read()).id == "4"
        with pytest.raises(grpc.aio.AioRpcError, match="draining") as ended:
            await call.read()
        await draining
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_draining_lets_a_stream_that_was_read_whole_end_well(tiny: Path) -> None:
    rig = Rig(tiny)
    async with gated_server(rig) as server, calling(server) as stub:
        call = stub.ClassifyStream(iter([request(4)]))
        await rig.gate.wait()
        for _ in range(3):  # behind the end of the stream, on the same connection
            await stub.GetModel(pb.GetModelRequest())
        draining = asyncio.create_task(server.drain())
        rig.gate.open()
        assert [answer.id async for answer in call] == ["4"]
        await draining


async def test_a_stream_that_is_done_ends_well(stub: "Stub") -> None:
    call = stub.ClassifyStream(iter([pb.ClassifyRequest(images=[png(1)])]))
    assert len([answer async for answer in call]) == 1
    assert await call.code() is grpc.StatusCode.OK


async def test_an_empty_stream_ends_well(stub: "Stub") -> None:
    call = stub.ClassifyStream(iter([]))
    assert [answer async for answer in call] == []


@pytest.mark.parametrize("model", ["tiny", ""])
async def test_the_model_may_be_named(stub: "Stub", model: str) -> None:
    call = stub.ClassifyStream(iter([pb.ClassifyRequest(images=[png(1)], model=model)]))
    assert [answer.model async for answer in call] == ["tiny"]


async def test_what_cannot_be_parsed_is_answered_and_ends_nothing(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async def messages() -> AsyncIterator[bytes]:
        yield b"\xff\xff"
        images = [pb.Image()] * 129
        yield pb.ClassifyRequest(images=images, id="many").SerializeToString()
        yield pb.ClassifyRequest(images=[png(1)], id="well").SerializeToString()

    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc.port}") as channel:
        method: Any = channel.stream_stream("/resnext.serving.v1.Classifier/ClassifyStream")
        answers = [pb.ClassifyResponse.FromString(answer) async for answer in method(messages())]
    told = {answer.id: answer.status for answer in answers}
    assert told["many"].message.endswith("this server takes at most 128 per request")
    assert told[""].message == "the message cannot be read as a ClassifyRequest"
    assert {status.code for status in told.values()} == {0, 3}
    assert not told["well"].code
    assert "Traceback" not in caplog.text
