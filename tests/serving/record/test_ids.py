"""Ids of requests, as callers get them back."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import httpx
import pytest
import pytest_asyncio

from protos import classifier_pb2 as pb
from protos import open_inference_pb2 as oip
from protos.classifier_pb2_grpc import ClassifierStub
from serving.record.ids import LONGEST_ID, new_id, request_id
from serving.server import Server
from tests.serving.api.messages import png
from tests.serving.http.conftest import http_to
from tests.serving.http.raw import answer, read_answer
from tests.support.http2 import END_STREAM, HEADERS, Frame, Http2, message
from tests.support.serving import running_server

pytestmark = pytest.mark.asyncio(loop_scope="module")
REQUEST = pb.ClassifyRequest(images=[png(1)], id="in the message", top_k=1)
OURS = re.compile("[0-9a-f]{12}-[0-9a-f]+")
HOSTILE = [
    "",
    " ",
    "a b",
    "é",
    "a" * (LONGEST_ID + 1),
    "\x1b[31m",
    "a\nb",
    "a\x00b",
    "\u202e",
    "x" * 2**20,
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tiny: Path) -> AsyncIterator[Server]:
    async with running_server(tiny) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def channel(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc.port}") as channel:
        yield channel


def id_in(metadata: object) -> str:
    [found] = [value for key, value in metadata if key == "x-request-id"]  # type: ignore[attr-defined]
    return str(found)


async def test_ours_are_all_different() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(map(OURS.fullmatch, ids))


@pytest.mark.parametrize("stated", HOSTILE)
async def test_one_that_could_do_harm_is_as_good_as_none(stated: str) -> None:
    assert OURS.fullmatch(request_id([("x-request-id", stated)]))


@pytest.mark.parametrize("stated", ["a", "~" * LONGEST_ID, '6f1a:b/c="d"', "%0d%0a"])
async def test_the_callers_own_comes_back(
    stated: str, channel: grpc.aio.Channel, server: Server
) -> None:
    call = ClassifierStub(channel).Classify(REQUEST, metadata=[("x-request-id", stated)])
    assert id_in(await call.trailing_metadata()) == stated
    assert (await call).id == "in the message"
    async with http_to(server) as client:
        found = await client.get("/healthz", headers={"x-request-id": stated})
        assert found.headers["x-request-id"] == stated


async def test_every_kind_of_call_has_one(channel: grpc.aio.Channel) -> None:
    stub = ClassifierStub(channel)
    stream = stub.ClassifyStream(iter([REQUEST, REQUEST]))
    assert [response.id async for response in stream] == ["in the message"] * 2
    calls = [stub.Classify(REQUEST), stub.GetModel(pb.GetModelRequest()), stream]
    ids = [id_in(await call.trailing_metadata()) for call in calls]
    assert all(map(OURS.fullmatch, ids))
    assert len(set(ids)) == len(calls)


async def test_an_error_has_one_too(channel: grpc.aio.Channel) -> None:
    call = ClassifierStub(channel).Classify(pb.ClassifyRequest(), metadata=[("x-request-id", "no")])
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert id_in(raised.value.trailing_metadata()) == "no"


async def test_an_error_is_still_of_trailers_only(server: Server) -> None:
    # Else no client that repeats calls by itself would repeat it: its headers would commit it.
    def frame_of_error() -> Frame:
        with Http2(server.grpc.port) as connection:
            stream = connection.call("/resnext.serving.v1.Classifier/Classify")
            connection.write(stream, message(0), end=True)
            return connection.until(HEADERS, stream)

    frame = await asyncio.to_thread(frame_of_error)
    assert frame.flags & END_STREAM
    assert b"x-request-id" in frame.payload


async def test_an_internal_error_is_logged_under_it(
    server: Server,
    channel: grpc.aio.Channel,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(server.repository, "get", fail)
    call = ClassifierStub(channel).Classify(REQUEST, metadata=[("x-request-id", "seven")])
    with pytest.raises(grpc.aio.AioRpcError, match=r"internal error \(id seven\)"):
        await call
    async with http_to(server) as client:
        found = await client.put("/v1/classify", content=b"x", headers={"x-request-id": "eight"})
    assert found.json() == {"error": "internal error (id eight)"}
    assert [record.getMessage() for record in caplog.records if record.exc_info] == [
        "internal error (id seven)",
        "internal error (id eight)",
    ]


async def test_one_of_an_infer_request_is_echoed_in_its_message(channel: grpc.aio.Channel) -> None:
    infer = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        oip.ModelInferRequest.SerializeToString,
        oip.ModelInferResponse.FromString,
    )
    image = png(1).encoded
    request = oip.ModelInferRequest(
        model_name="tiny",
        id="tritons",
        inputs=[{"name": "images", "datatype": "BYTES", "shape": [1, 1]}],
        raw_input_contents=[len(image).to_bytes(4, "little") + image],
    )
    call = infer(request, metadata=[("x-request-id", "ours")])
    assert (await call).id == "tritons"
    assert id_in(await call.trailing_metadata()) == "ours"


HEAD = b"GET /nothing HTTP/1.1\r\nHost: x\r\nX-Request-Id: "


@pytest.mark.parametrize(
    ("request_bytes", "status", "expected"),
    [
        (HEAD + b"me\r\nConnection: close\r\n\r\n", b"404", b"me"),
        (b"GET / HTTP/1.1\r\nX-Request-Id: me\r\n\r\n", b"400", b"me"),  # no Host
        (HEAD + b"me\r\nA: " + b"b" * 20_000, b"431", b"me"),
        (HEAD + b"me\r\nContent-Length: 99999999999\r\n\r\n", b"413", b"me"),
        (b"nonsense\r\n\r\n", b"400", b"[0-9a-f]{12}-[0-9a-f]+"),
        (HEAD + b"\xc3\xa9\r\nConnection: close\r\n\r\n", b"404", b"[0-9a-f]{12}-[0-9a-f]+"),
    ],
)
async def test_what_the_connection_itself_says_has_one(
    server: Server, request_bytes: bytes, status: bytes, expected: bytes
) -> None:
    async with asyncio.timeout(60):
        said = await answer(server.http.port, request_bytes)
    assert said.startswith(b"HTTP/1.1 " + status)
    assert len(re.findall(rb"\r\nx-request-id: ", said)) == 1
    assert re.search(rb"\r\nx-request-id: " + expected + rb"\r\n", said)


async def test_an_id_is_not_taken_from_the_request_before(server: Server) -> None:
    good = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: first\r\n\r\n"
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.http.port)
        writer.write(good)
        assert b"\r\nx-request-id: first\r\n" in (await read_answer(reader))[0]
        writer.write(b"nonsense\r\n\r\n")
        head, _ = await read_answer(reader)
        writer.close()
    [found] = re.findall(rb"x-request-id: (\S+)", head)
    assert OURS.fullmatch(found.decode())


async def test_head_and_options_have_one(server: Server) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        for method in ("HEAD", "OPTIONS", "DELETE"):
            url = f"http://127.0.0.1:{server.http.port}/healthz"
            assert OURS.fullmatch((await client.request(method, url)).headers["x-request-id"])
