"""One caller takes no more than its share, over whichever port, and others still get in."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import grpc
import httpx
import pytest

from protos import classifier_pb2 as pb
from protos.classifier_pb2_grpc import ClassifierStub
from serving.access.tokens import line, new_token
from tests.support.serving import Rig, gated_server, until

SLOTS, SHARE = 8, 4
TOKENS = {name: new_token() for name in ("greedy", "modest")}


class Calls:
    """Requests to a server whose devices wait."""

    def __init__(self, image: bytes, channel: grpc.aio.Channel, port: int) -> None:
        self._image, self._port = image, port
        self._stub = ClassifierStub(channel)

    def grpc(self, images: int, token: str = "") -> "grpc.aio.UnaryUnaryCall[object, object]":
        request = pb.ClassifyRequest(images=[pb.Image(encoded=self._image)] * images)
        return self._stub.Classify(request, metadata=self._metadata(token), timeout=60)

    def stream(self, images: int, token: str = "") -> "grpc.aio.StreamStreamCall[object, object]":
        request = pb.ClassifyRequest(images=[pb.Image(encoded=self._image)] * images)
        return self._stub.ClassifyStream(iter([request]), metadata=self._metadata(token))

    async def http(self, token: str = "", address: str | None = None) -> httpx.Response:
        transport = httpx.AsyncHTTPTransport(local_address=address)
        async with httpx.AsyncClient(transport=transport, timeout=60) as client:
            headers = dict(self._metadata(token))
            url = f"http://127.0.0.1:{self._port}/v1/classify"
            return await client.post(url, content=self._image, headers=headers)

    def _metadata(self, token: str) -> Sequence[tuple[str, str]]:
        return [("authorization", f"Bearer {token}")] if token else []


async def _refusal(call: "grpc.aio.UnaryUnaryCall[object, object]") -> str:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "grpc-retry-pushback-ms" in dict(raised.value.trailing_metadata())
    return raised.value.details() or ""


async def test_a_greedy_token_fills_its_share_and_another_gets_in(
    tiny: Path, tmp_path: Path
) -> None:
    path = tmp_path / "tokens"
    path.write_text("\n".join(line(name, token, "classify") for name, token in TOKENS.items()))
    rig = Rig(tiny, slots=SLOTS, share=SHARE / SLOTS)
    async with (
        gated_server(rig, token_file=path) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc.port}") as channel,
    ):
        calls = Calls((tiny / "golden/ant_0.png").read_bytes(), channel, server.http.port)
        greedy, modest = TOKENS["greedy"], TOKENS["modest"]
        first = calls.grpc(SHARE, greedy)
        await until(lambda: rig.sample("inflight_images") == SHARE)
        why = "4 of 4 slots that one caller may have (--max-share) are taken, the request needs 1"
        assert await _refusal(calls.grpc(1, greedy)) == why
        answer = await calls.http(greedy)
        assert (answer.status_code, answer.json()) == (429, {"error": why})
        assert int(answer.headers["retry-after"]) >= 1
        [streamed] = [response async for response in calls.stream(1, greedy)]
        assert streamed.status.message == why
        assert rig.sample("rejections_total", reason="share") == 3
        others = [
            asyncio.ensure_future(calls.grpc(2, modest)),
            asyncio.ensure_future(calls.http(modest)),
        ]
        streaming = calls.stream(1, modest)
        await until(lambda: rig.sample("inflight_images") == SLOTS)
        rig.gate.open()
        assert len((await first).results) == SHARE
        assert len((await others[0]).results) == 2
        assert (await others[1]).status_code == 200
        assert [len(response.results) async for response in streaming] == [1]
        assert len((await calls.grpc(SHARE, greedy)).results) == SHARE


async def test_without_tokens_an_address_is_a_caller_on_both_ports(tiny: Path) -> None:
    rig = Rig(tiny, slots=SLOTS, share=SHARE / SLOTS)
    async with (
        gated_server(rig) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc.port}") as channel,
    ):
        calls = Calls((tiny / "golden/ant_0.png").read_bytes(), channel, server.http.port)
        first = calls.grpc(SHARE)
        await until(lambda: rig.sample("inflight_images") == SHARE)
        assert (await calls.http()).status_code == 429
        other = asyncio.ensure_future(calls.http(address="127.0.0.2"))
        await until(lambda: rig.sample("inflight_images") == SHARE + 1)
        rig.gate.open()
        assert (await other).status_code == 200
        assert len((await first).results) == SHARE


async def test_without_a_share_one_caller_may_have_all(tiny: Path) -> None:
    rig = Rig(tiny, slots=SLOTS)
    async with (
        gated_server(rig) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc.port}") as channel,
    ):
        calls = Calls((tiny / "golden/ant_0.png").read_bytes(), channel, server.http.port)
        first = calls.grpc(SLOTS)
        await until(lambda: rig.sample("inflight_images") == SLOTS)
        assert "8 of 8 slots are taken" in await _refusal(calls.grpc(1))
        rig.gate.open()
        assert len((await first).results) == SLOTS
