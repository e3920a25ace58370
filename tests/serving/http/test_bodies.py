"""Bodies that are compressed, and bombs."""

import asyncio
import gc
import gzip
import threading
import weakref
import zlib
from functools import partial

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from serving.errors import InvalidRequestError, OverloadedError
from serving.http.bodies import Turns, inflate, read_body
from tests.support.serving import until


def request(body: bytes, coding: str | None = None) -> Request:
    """A request as the connection hands it over."""
    headers = [] if coding is None else [(b"content-encoding", coding.encode())]
    scope = {"type": "http", "headers": headers}

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(scope, receive)


@pytest.mark.parametrize("coding", [None, "", "identity", "Identity"])
async def test_a_body_is_not_copied(coding: str | None) -> None:
    body = b"x" * 1000
    assert await read_body(request(body, coding), 10, Turns(100)) is body


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP"])
async def test_gzip_is_inflated(coding: str) -> None:
    twice = gzip.compress(b"begin ") + gzip.compress(b"end")  # a file may have several members
    assert await read_body(request(twice, coding), 9, Turns(100)) == b"begin end"


async def test_deflate_is_inflated() -> None:
    assert await read_body(request(zlib.compress(b"whole"), "deflate"), 9, Turns(100)) == b"whole"


async def test_other_codings_are_refused_with_those_that_are_read() -> None:
    with pytest.raises(HTTPException, match="'br'") as refused:
        await read_body(request(b"x", "br"), 10, Turns(100))
    assert refused.value.headers == {"accept-encoding": "gzip, deflate, identity"}


@pytest.mark.parametrize(
    "bomb",
    [
        gzip.compress(bytes(2**24)),
        gzip.compress(bytes(1001)),
        gzip.compress(bytes(600)) + gzip.compress(bytes(600)),
    ],
    ids=["bomb", "a byte", "two parts"],
)
def test_no_more_is_inflated_than_a_body_may_have(bomb: bytes) -> None:
    with pytest.raises(HTTPException, match="more than 1000 bytes once it is inflated") as refused:
        inflate(bomb, 1000)
    assert refused.value.status_code == 413


def test_as_much_as_a_body_may_have_is_inflated() -> None:
    assert inflate(gzip.compress(bytes(1000)), 1000) == bytes(1000)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"rubbish", "is not what its Content-Encoding says"),
        (gzip.compress(b"whole")[:-5], "is not whole"),
        (zlib.compress(b"whole")[:-1], "is not whole"),
        (gzip.compress(b"whole") + b"rest", "is not what its Content-Encoding says"),
        (gzip.compress(b"") * 17, "in more than 16 parts"),
    ],
    ids=["rubbish", "gzip", "deflate", "rest", "parts"],  # bytes differ: gzip states the time
)
def test_what_is_not_compressed_is_told_so(body: bytes, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        inflate(body, 1000)


class Work:
    """Work in a thread that ends when it may."""

    def __init__(self) -> None:
        self.started, self.may_end = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.started.set()
        assert self.may_end.wait(30)
        return "done"


async def test_bodies_are_worked_on_one_at_a_time_and_few_wait() -> None:
    turns, first, second = Turns(100), Work(), Work()
    ahead = asyncio.create_task(turns.take(200, first))  # nothing else is held: it may
    await until(first.started.is_set)
    with pytest.raises(OverloadedError, match="try again"):
        await turns.take(1, second)
    first.may_end.set()
    assert await ahead == "done"
    small = [asyncio.create_task(turns.take(50, work)) for work in (first, second)]
    assert await small[0] == "done"
    second.may_end.set()
    assert await small[1] == "done"
    await turns.take(100, first)  # all of it was given back


async def test_who_leaves_keeps_its_turn_until_its_thread_ends() -> None:
    turns, first, second = Turns(100), Work(), Work()
    leaving = asyncio.create_task(turns.take(50, first))
    await until(first.started.is_set)
    leaving.cancel()
    behind = asyncio.create_task(turns.take(50, second))
    for _ in range(5):
        await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await turns.take(1, second)
    assert not second.started.is_set()
    first.may_end.set()
    second.may_end.set()
    assert await behind == "done"
    assert leaving.cancelled()


async def test_an_error_leaves_no_body_to_the_collector() -> None:
    def fail(_: Work) -> None:
        raise InvalidRequestError("no")

    held = Work()
    gone = weakref.ref(held)
    gc.disable()
    try:
        await Turns(100).take(1, partial(fail, held))
    except InvalidRequestError:
        del held
    try:
        await until(lambda: gone() is None)  # the thread may hold it for a moment
    finally:
        gc.enable()
