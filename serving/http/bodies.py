"""Bodies of requests: whole, and inflated within bounds."""

import asyncio
import zlib
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request

from serving.errors import InvalidRequestError, OverloadedError

GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS  # whichever the first bytes say
# What HTTP calls deflate is zlib's form of it (RFC 9110, 8.4.1.2).
IDENTITY_CODINGS, COMPRESSED_CODINGS = {"", "identity"}, {"gzip", "x-gzip", "deflate"}
# A gzip file may have several members; what follows one is copied to reach the next.
MOST_MEMBERS = 16
# When there may be room again for what is read in a thread.
RETRY_AFTER_MS = 1000
Read = TypeVar("Read")


class Turns:
    """Work on bodies that takes a thread a while: one at a time, in their order.

    Such a body is not yet bounded by what the engine holds. Many at once would take every core from
    the decoders, too.

    Args:
        most_bytes: what all that wait may hold.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._held = most_bytes, 0
        self._turn = asyncio.Lock()

    async def take(self, nbytes: int, work: Callable[[], Read]) -> Read:
        """Return what `work` returns, which needs a body of so many bytes.

        Raises `OverloadedError` if too much waits already, and what `work` raises.
        """
        if self._held and self._held + nbytes > self._most_bytes:
            raise OverloadedError(
                "too many bytes of requests wait to be read; try again, or send less that is "
                "compressed, a form, or JSON",
                RETRY_AFTER_MS,
            )
        self._held += nbytes
        try:
            async with self._turn:
                return await self._whole(work)
        finally:
            self._held -= nbytes

    async def _whole(self, work: Callable[[], Read]) -> Read:
        """Run `work` in a thread; if the caller leaves, its turn ends when the thread does."""
        running = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise
        finally:
            del running  # it holds its error, whose traceback holds this frame, and so the body


async def read_body(request: Request, most_bytes: int, turns: Turns) -> bytes:
    """Return the body of a request, inflated in its turn if it says that it is compressed.

    What comes from a connection is in one piece, and bounded already. It is not copied.

    Raises:
        HTTPException: it is more than `most_bytes` once inflated (413), or coded otherwise (415).
        InvalidRequestError: it is not what it says.
        OverloadedError: too many wait to be inflated.
    """
    pieces = []
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise asyncio.CancelledError
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = b"".join(pieces)  # of one piece: the piece itself
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding in IDENTITY_CODINGS:
        return body
    if coding in COMPRESSED_CODINGS:
        return await turns.take(len(body), partial(inflate, body, most_bytes))
    raise HTTPException(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        f"the body is coded as {coding!r}; this server reads gzip, deflate, and bodies as they are",
        {"accept-encoding": "gzip, deflate, identity"},
    )


def inflate(body: bytes, most_bytes: int) -> bytes:
    """Return what a body compressed with gzip or zlib holds.

    Raises:
        HTTPException: that is more than `most_bytes`; no more than that is inflated.
        InvalidRequestError: it is not compressed, not whole, or in more than `MOST_MEMBERS` parts.
    """
    inflated, members = bytearray(), 0
    while body:
        members += 1
        if members > MOST_MEMBERS:
            raise InvalidRequestError(
                f"the body is compressed in more than {MOST_MEMBERS} parts; compress it in one"
            )
        decompressor = zlib.decompressobj(GZIP_OR_ZLIB)
        try:
            inflated += decompressor.decompress(body, most_bytes - len(inflated) + 1)
        except zlib.error as error:
            raise InvalidRequestError(
                f"the body is not what its Content-Encoding says, gzip or deflate ({error})"
            ) from None
        if len(inflated) > most_bytes:
            raise HTTPException(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the body has more than {most_bytes} bytes once it is inflated; it may have at "
                f"most that (--max-message-bytes)",
            )
        if not decompressor.eof:
            raise InvalidRequestError("the compressed body is not whole")
        body = decompressor.unused_data  # another member, if anything
    return bytes(inflated)
