"""Bodies that are compressed, and bombs."""

import gzip
import zlib

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from serving.errors import InvalidRequestError
from serving.http.bodies import inflate, read_body


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
    assert await read_body(request(body, coding), 10) is body


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP"])
async def test_gzip_is_inflated(coding: str) -> None:
    twice = gzip.compress(b"begin ") + gzip.compress(b"end")  # a file may have several members
    assert await read_body(request(twice, coding), 9) == b"begin end"


async def test_deflate_is_inflated() -> None:
    assert await read_body(request(zlib.compress(b"whole"), "deflate"), 9) == b"whole"


async def test_other_codings_are_refused_with_those_that_are_read() -> None:
    with pytest.raises(HTTPException, match="'br'") as refused:
        await read_body(request(b"x", "br"), 10)
    assert refused.value.headers == {"accept-encoding": "gzip, deflate, identity"}


@pytest.mark.parametrize(
    "bomb",
    [
        gzip.compress(bytes(2**24)),
        gzip.compress(bytes(1001)),
        gzip.compress(bytes(600)) + gzip.compress(bytes(600)),
    ],
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
)
def test_what_is_not_compressed_is_told_so(body: bytes, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        inflate(body, 1000)
