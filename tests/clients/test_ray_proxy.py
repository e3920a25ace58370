"""The client at a proxy as Ray has it: deadlines in metadata, and attempts that gRPC spares."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest

from clients import (
    AsyncClassifierClient,
    ClassifierClient,
    ClassifierError,
    OverloadError,
    UnavailableError,
)
from protos import classifier_pb2 as pb

INTERNAL, UNAVAILABLE = grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE
FULL = grpc.StatusCode.RESOURCE_EXHAUSTED


class Proxy:
    """Fails as it is told, in the way of Ray's proxy: with a code, and an empty message."""

    def __init__(self) -> None:
        self.failures: deque[tuple[grpc.StatusCode, str | None]] = deque()
        self.stated: list[list[str]] = []
        self.bounded: list[bool] = []
        self.address = ""

    async def classify(self, request: pb.ClassifyRequest, context: Any) -> bytes:
        metadata = context.invocation_metadata()
        self.stated.append([v for name, v in metadata if name == "x-request-timeout-ms"])
        self.bounded.append(context.time_remaining() < 3600)  # gRPC rounds it
        if self.failures:
            code, pushback = self.failures.popleft()
            context.set_code(code)
            context.set_details("the actor has died")
            if pushback:
                context.set_trailing_metadata([("grpc-retry-pushback-ms", pushback)])
            return b""
        return pb.ClassifyResponse(results=[pb.Result()]).SerializeToString()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    handler = grpc.unary_unary_rpc_method_handler(proxy.classify, pb.ClassifyRequest.FromString)
    server = grpc.aio.server()
    service = "resnext.serving.v1.Classifier"
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, {"Classify": handler})]
    )
    proxy.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield proxy
    await server.stop(0)


async def ask(proxy: Proxy, *, waits: bool = False, **options: Any) -> None:
    """Classify an image with either client."""
    if waits:
        async with AsyncClassifierClient(proxy.address, ray=True) as client:
            await client.classify([b"image"], **options)
        return

    def block() -> None:
        with ClassifierClient(proxy.address, ray=True) as client:
            client.classify([b"image"], **options)

    await asyncio.to_thread(block)


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("codes", [[INTERNAL], [UNAVAILABLE, FULL, INTERNAL]])
async def test_attempts_are_four_and_each_tells_what_time_is_left(
    proxy: Proxy, codes: Sequence[grpc.StatusCode], *, waits: bool
) -> None:
    proxy.failures.extend((code, "10") for code in codes)
    await ask(proxy, waits=waits, timeout_s=30)
    assert len(proxy.stated) == len(codes) + 1
    stated_s = [int(value) / 1000 for [value] in proxy.stated]
    assert all(proxy.bounded)
    assert stated_s == sorted(stated_s, reverse=True)
    assert stated_s[-1] < 30


async def test_without_a_word_of_the_server_it_pauses_by_itself(proxy: Proxy) -> None:
    proxy.failures.append((INTERNAL, None))
    await ask(proxy, timeout_s=30)
    assert int(proxy.stated[1][0]) <= int(proxy.stated[0][0]) - 80  # 0.1 s, less a fifth


@pytest.mark.parametrize("waits", [False, True])
async def test_the_fifth_is_not_made(proxy: Proxy, *, waits: bool) -> None:
    proxy.failures.extend([(UNAVAILABLE, "1")] * 4)
    with pytest.raises(UnavailableError, match="has died"):
        await ask(proxy, waits=waits)
    assert len(proxy.stated) == 4


@pytest.mark.parametrize(
    ("code", "pushback", "kind"),
    [
        (INTERNAL, "-1", ClassifierError),  # the server's own
        (FULL, "60000", OverloadError),  # later than anybody waits
        (FULL, "soon", OverloadError),
        (grpc.StatusCode.INVALID_ARGUMENT, None, ClassifierError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, None, ClassifierError),
    ],
)
async def test_what_would_be_in_vain_is_not_tried_again(
    proxy: Proxy, code: grpc.StatusCode, pushback: str | None, kind: type[Exception]
) -> None:
    proxy.failures.append((code, pushback))
    with pytest.raises(kind):
        await ask(proxy)
    assert len(proxy.stated) == 1


async def test_other_servers_get_no_such_metadata(proxy: Proxy) -> None:
    async with AsyncClassifierClient(proxy.address) as client:
        await client.classify([b"image"])
    assert proxy.stated == [[]]
