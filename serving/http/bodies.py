"""Bodies of requests: whole, and inflated within bounds."""

import asyncio
import zlib
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request

from serving.errors import InvalidRequestError

GZIP = 16 + zlib.MAX_WBITS
IDENTITY_CODINGS, GZIP_CODINGS = {"", "identity"}, {"gzip", "x-gzip"}


async def read_body(request: Request, most_bytes: int) -> bytes:
    """Return the body of a request, inflated if it says that it is compressed with gzip.

    What comes from a connection is in one piece, and bounded already. It is not copied.

    Raises:
        HTTPException: it is more than `most_bytes` once inflated (413), or coded otherwise (415).
        InvalidRequestError: it is not what it says.
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
    if coding in GZIP_CODINGS:
        return await asyncio.to_thread(inflate, body, most_bytes)
    raise HTTPException(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        f"the body is coded as {coding!r}; this server reads gzip and bodies that are not coded",
        {"accept-encoding": "gzip, identity"},
    )


def inflate(body: bytes, most_bytes: int) -> bytes:
    """Return what a gzip file holds.

    Raises:
        HTTPException: that is more than `most_bytes`; no more than that is inflated.
        InvalidRequestError: it is no gzip file, or not a whole one.
    """
    inflated = bytearray()
    while body:
        decompressor = zlib.decompressobj(GZIP)
        try:
            inflated += decompressor.decompress(body, most_bytes - len(inflated) + 1)
        except zlib.error as error:
            raise InvalidRequestError(f"the body is not gzip, as it says: {error}") from None
        if len(inflated) > most_bytes:
            raise HTTPException(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the body has more than {most_bytes} bytes once it is inflated; it may have at "
                f"most that (--max-message-bytes)",
            )
        if not decompressor.eof:
            raise InvalidRequestError("the body ends before its gzip file does")
        body = decompressor.unused_data  # another member, if anything
    return bytes(inflated)
