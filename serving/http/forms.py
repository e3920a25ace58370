"""The files of a form, multipart/form-data (RFC 7578).

The parser that Starlette uses goes through half boundaries byte by byte in Python: 32 MiB of them
keep it busy for 4 s. Here each step is a search in C, and the number of steps is bounded.
"""

from email.message import Message
from email.parser import HeaderParser
from functools import partial

from serving.errors import InvalidRequestError
from serving.http.bodies import Turns

FORM = "multipart/form-data"
# A form of more bytes is read in a thread.
LARGE_BYTES = 2**20
LONGEST_BOUNDARY = 70  # RFC 2046
# Parts besides the files, which are read over.
MOST_FIELDS = 32
# What stands before the content of a part, and the spaces after a boundary, in bytes.
LONGEST_HEAD, LONGEST_PADDING = 4096, 64
END, EMPTY_LINE = b"\r\n", b"\r\n\r\n"


async def read_files(body: bytes, content_type: str, most: int, turns: Turns) -> list[bytes]:
    """Return the files of a form, in order: the parts that have a file name.

    Raises:
        InvalidRequestError: it is no form, or not a whole one, or has more files than `most`.
        OverloadedError: it is large, and too many such wait.
    """
    if len(body) > LARGE_BYTES:
        return await turns.take(len(body), partial(files, body, content_type, most))
    return files(body, content_type, most)


def files(body: bytes, content_type: str, most: int) -> list[bytes]:
    """Return the files, see `read_files`."""
    found: list[bytes] = []
    fields = 0
    start, boundary = _begin(body, content_type)
    while not body.startswith(b"--", start):
        end = body.find(boundary, start)
        if end < 0:
            raise InvalidRequestError("the form ends before its last boundary")
        head, content = _split(body, start, end)
        if not _is_file(head):
            fields += 1
        elif len(found) == most:
            raise InvalidRequestError(
                f"the form holds too many images; a request to this path may have at most {most}"
            )
        else:
            found.append(body[content:end])
        if fields > MOST_FIELDS:
            raise InvalidRequestError(f"the form has more than {MOST_FIELDS} fields besides images")
        start = end + len(boundary)
    return found


def _begin(body: bytes, content_type: str) -> tuple[int, bytes]:
    """Return where the first boundary ends, and what stands between two parts."""
    message = Message()
    message["content-type"] = content_type
    stated = message.get_boundary("").encode("latin-1", "replace")
    if not 0 < len(stated) <= LONGEST_BOUNDARY:
        raise InvalidRequestError(
            f"the content type {FORM} must state its boundary, of at most {LONGEST_BOUNDARY} "
            f"characters"
        )
    boundary = END + b"--" + stated
    if body.startswith(boundary[len(END) :]):
        return len(boundary) - len(END), boundary
    at = body.find(boundary)  # after a preamble, which nobody reads
    if at < 0:
        raise InvalidRequestError("the body does not hold the boundary that its type states")
    return at + len(boundary), boundary


def _split(body: bytes, start: int, end: int) -> tuple[bytes, int]:
    """Return the head of the part in `body[start:end]`, and where its content begins."""
    line = body.find(END, start, start + LONGEST_PADDING)
    if line < 0 or body[start:line].strip(b" \t"):
        raise InvalidRequestError("a boundary of the form is followed by other text on its line")
    if line == end or body.startswith(EMPTY_LINE, line):  # no head
        return b"", min(line + len(EMPTY_LINE), end)
    close = body.find(EMPTY_LINE, line, min(end, line + LONGEST_HEAD))
    if close < 0:
        raise InvalidRequestError(
            f"a part of the form has no empty line after its headers, which may have at most "
            f"{LONGEST_HEAD} bytes"
        )
    return body[line + len(END) : close], close + len(EMPTY_LINE)


def _is_file(head: bytes) -> bool:
    message = HeaderParser().parsestr(head.decode("latin-1"))
    return message.get_param("filename", header="content-disposition") is not None
