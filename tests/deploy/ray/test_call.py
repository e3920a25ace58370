"""A call as Ray's proxy hands it over: its deadline, its ends, and what its caller is told."""

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
import pytest

from deploy.ray.call import CallError, RayCall, stated_timeout_s
from serving.api.status import failure
from serving.errors import InternalError, InvalidRequestError, OverloadedError


class Context:
    """As much of RayServegRPCContext as a call uses."""

    def __init__(self, *headers: tuple[str, str]) -> None:
        self._headers = headers
        self.ended: dict[str, Any] = {}

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return self._headers

    def peer(self) -> str:
        return "ipv4:192.0.2.1:50000"

    def code(self) -> Any:
        return self.ended.get("code")

    def details(self) -> Any:
        return self.ended.get("details")

    def set_code(self, code: grpc.StatusCode) -> None:
        self.ended["code"] = code

    def set_details(self, details: str) -> None:
        self.ended["details"] = details

    def set_trailing_metadata(self, metadata: list[tuple[str, str]]) -> None:
        self.ended["metadata"] = dict(metadata)


async def test_a_response_comes_with_the_id_of_its_call() -> None:
    context = Context(("x-request-id", "mine"))

    async def work(call: RayCall) -> None:
        assert (call.caller, call.request_id) == ("192.0.2.1", "mine")
        assert call.deadline_s is None
        await asyncio.to_thread(call.finish, "response")
        call.finish("too late")

    assert await RayCall(context).answer(work) == "response"
    assert context.ended == {"metadata": {"x-request-id": "mine"}}


async def test_the_deadline_is_what_the_metadata_says_from_the_arrival_on() -> None:
    async def work(call: RayCall) -> None:
        assert call.deadline_s == call.arrived_s + 0.25
        call.finish("response")

    await RayCall(Context(("x-request-timeout-ms", "250"))).answer(work)


@pytest.mark.parametrize("stated", ["", "0", "-5", "1.5", "soon", "86400001", "9" * 5000, "²"])
async def test_a_deadline_that_is_none_is_told_and_nothing_is_done(stated: str) -> None:
    context = Context(("x-request-timeout-ms", stated))

    async def work(_: RayCall) -> None:
        raise AssertionError

    assert await RayCall(context).answer(work) is None
    assert context.ended["code"] is grpc.StatusCode.INVALID_ARGUMENT
    assert "must be milliseconds, from 1 to 86400000" in context.ended["details"]


def test_the_longest_deadline_is_a_day() -> None:
    assert stated_timeout_s([("x-request-timeout-ms", "86400000")]) == 86_400
    with pytest.raises(InvalidRequestError):
        stated_timeout_s([("x-request-timeout-ms", "86400001")])


async def test_an_overload_says_when_to_try_again() -> None:
    context = Context()

    async def work(call: RayCall) -> None:
        call.fail(*failure(OverloadedError("full", 70), call.request_id))

    assert await RayCall(context).answer(work) is None
    assert context.ended["code"] is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert context.ended["metadata"]["grpc-retry-pushback-ms"] == "70"


@pytest.mark.parametrize("error", [InternalError("no luck"), ZeroDivisionError("secret")])
async def test_our_own_internal_errors_are_not_tried_again(error: Exception) -> None:
    context = Context()

    async def work(_: RayCall) -> None:
        raise error

    assert await RayCall(context).answer(work) is None
    assert context.ended["code"] is grpc.StatusCode.INTERNAL
    assert context.ended["metadata"]["grpc-retry-pushback-ms"] == "-1"
    assert "secret" not in context.ended["details"]


async def test_who_leaves_is_told_to_the_engine() -> None:
    begun, left = asyncio.Event(), asyncio.Event()

    async def work(call: RayCall) -> None:
        call.on_leave = left.set
        begun.set()

    answering = asyncio.ensure_future(RayCall(Context()).answer(work))
    await begun.wait()
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert left.is_set()


async def test_a_stream_yields_what_is_written_until_it_fails() -> None:
    context = Context()

    async def work(call: RayCall) -> None:
        await call.write(b"1")
        await call.write(b"2")
        await call.abort(grpc.StatusCode.UNAVAILABLE, "the server is draining")

    answers = RayCall(context).answers(work)
    assert [await anext(answers), await anext(answers)] == [b"1", b"2"]
    with pytest.raises(CallError, match="draining"):
        await anext(answers)
    assert context.ended["code"] is grpc.StatusCode.UNAVAILABLE


async def test_a_stream_that_nobody_reads_any_more_ends_its_work() -> None:
    ended = asyncio.Event()

    async def work(call: RayCall) -> None:
        try:
            while True:
                await call.write(b"more")
        finally:
            ended.set()

    answers = RayCall(Context()).answers(work)
    assert await anext(answers) == b"more"
    await answers.aclose()  # type: ignore[attr-defined]
    await asyncio.wait_for(ended.wait(), 30)
