"""Bodies of requests: whole, inflated within bounds, and the files of a form."""

import asyncio
import zlib
from http import HTTPStatus

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import Request

from serving.errors import InvalidRequestError

GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS  # whichever the first bytes say
# What HTTP calls deflate is zlib's form of it (RFC 9110, 8.4.1.2).
IDENTITY_CODINGS, INFLATED_CODINGS = {"", "identity"}, {"gzip", "x-gzip", "deflate"}
# A form of more bytes is read in a thread of its own.
LARGE_FORM_BYTES = 2**18
# A part of a form has a handful of headers.
PART_HEADERS, PART_HEADER_BYTES = 8, 4096


async def read_body(request: Request, most_bytes: int) -> bytes:
    """Return the body of a request, inflated if it says that it is compressed.

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
    if coding in INFLATED_CODINGS:
        return await asyncio.to_thread(inflate, body, most_bytes)
    raise HTTPException(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        f"the body is coded as {coding!r}; this server reads gzip, deflate, and bodies as they are",
        {"accept-encoding": "gzip, deflate, identity"},
    )


def inflate(body: bytes, most_bytes: int) -> bytes:
    """Return what a body compressed with gzip or zlib holds.

    Raises:
        HTTPException: that is more than `most_bytes`; no more than that is inflated.
        InvalidRequestError: it is not compressed, or not whole, or something follows it: thousands
            of small files in one body would take long.
    """
    decompressor = zlib.decompressobj(GZIP_OR_ZLIB)
    try:
        inflated = decompressor.decompress(body, most_bytes + 1)
    except zlib.error as error:
        raise InvalidRequestError(f"the body is not compressed as it says: {error}") from None
    if len(inflated) > most_bytes:
        raise HTTPException(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the body has more than {most_bytes} bytes once it is inflated; it may have at "
            f"most that (--max-message-bytes)",
        )
    if not decompressor.eof:
        raise InvalidRequestError("the compressed body is not whole")
    if decompressor.unused_data:
        raise InvalidRequestError("something follows what is compressed; compress all in one piece")
    return inflated


async def read_files(body: bytes, content_type: str, most_files: int) -> list[bytes]:
    """Return the files of a form, in order.

    Raises:
        InvalidRequestError: it is no form, or not a whole one, or has more than `most_files`.
    """
    if len(body) > LARGE_FORM_BYTES:
        return await asyncio.to_thread(_files, body, content_type, most_files)
    return _files(body, content_type, most_files)


def _files(body: bytes, content_type: str, most_files: int) -> list[bytes]:
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise InvalidRequestError("the content type multipart/form-data must state its boundary")
    form = _Form(most_files)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": form.begin,
                "on_header_field": form.header_field,
                "on_header_value": form.header_value,
                "on_header_end": form.header_end,
                "on_part_data": form.data,
                "on_part_end": form.end,
                "on_end": form.finish,
            },
            max_header_count=PART_HEADERS,
            max_header_size=PART_HEADER_BYTES,
        )
        parser.write(body)
    except FormParserError as error:
        raise InvalidRequestError(f"the form cannot be read: {error}") from None
    if not form.is_whole:
        raise InvalidRequestError("the form ends before its last boundary")
    return form.files


class _Form:
    """The files among the parts of a form: those that have a file name."""

    def __init__(self, most_files: int) -> None:
        self._most_files = most_files
        self.files: list[bytes] = []
        self.is_whole = False
        self.begin()

    def begin(self) -> None:
        self._name = self._value = b""
        self._is_file = False
        self._pieces: list[bytes] = []

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._is_file = b"filename" in parse_options_header(self._value)[1]
        self._name = self._value = b""

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._pieces.append(data[start:end])

    def end(self) -> None:
        if not self._is_file:
            return
        if len(self.files) == self._most_files:
            raise InvalidRequestError(
                f"the form holds too many images; this server takes at most {self._most_files} "
                f"per request"
            )
        self.files.append(b"".join(self._pieces))

    def finish(self) -> None:
        self.is_whole = True
