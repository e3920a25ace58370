"""The fields of a message, seen before it is parsed: a parser has no bound but the message's size.

An empty image is two bytes on the wire and fifty once it is parsed, so that 32 MiB of them take
767 MiB and half a second of gRPC's only thread. The walk here reads tags and lengths, skips what is
between them, and ends at the first thing that is too much. An image costs it a microsecond.
"""

from collections.abc import Iterator

from serving.errors import InvalidRequestError

LONGEST_NAME = 1024  # bytes
# Fields of a message besides those of which a request may have many; no contract here has as many.
# The rest is for those that a later version of it adds, which are read over.
MOST_FIELDS = 32
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
# A tag holds the number of a field, 1 to 2**29 - 1, and three bits for its kind.
SMALLEST_TAG, LARGEST_TAG = 1 << 3, (1 << 32) - 1
LONGEST_SHORT = 5  # bytes of a tag or a length; protobuf reads no longer ones


class UnreadableError(ValueError):
    """What is walked over is no message, or too much of one; the text says why, if it is known."""


def check_name(field: str, nbytes: int) -> None:
    """Raise `InvalidRequestError` if a name is too long."""
    if nbytes > LONGEST_NAME:
        raise InvalidRequestError(
            f"`{field}` has {nbytes} bytes; it may have at most {LONGEST_NAME}"
        )


def fields(message: bytes, at: int, end: int, most: int) -> Iterator[tuple[int, int, int]]:
    """Yield the fields in `message[at:end]`: number, start and stop; number 0 for a scalar.

    Raises `UnreadableError` if they are more than `most`, or are none.
    """
    try:
        while at < end:
            if not most:
                raise UnreadableError(": it has too many fields")
            most -= 1
            tag = message[at]
            at += 1
            if not SMALLEST_TAG <= tag <= 127:
                tag, at = _tag(message, at, tag)
            kind = tag & 7
            if kind == BYTES:
                size = message[at]
                at += 1
                if size > 127:
                    size, at = _short(message, at, size)
                start, at = at, at + size
                yield tag >> 3, start, at
            else:
                at = _skip(message, at, kind)
                yield 0, at, at
    except IndexError:
        at = end + 1
    if at > end:
        raise UnreadableError


def name_of(message: bytes, wanted: int, most: int) -> str:
    """Return a name from a message that was refused, empty if it cannot be found.

    Args:
        message: the message.
        wanted: number of the field.
        most: how many fields are looked at.
    """
    try:
        for number, start, stop in fields(message, 0, len(message), most):
            if number == wanted and stop - start <= LONGEST_NAME:
                return message[start:stop].decode()
    except (UnreadableError, UnicodeDecodeError):
        pass
    return ""


def _skip(message: bytes, at: int, kind: int) -> int:
    """Return where the value ends that begins at `at`."""
    if kind == VARINT:
        return _varint(message, at + 1, message[at])[1]
    if kind == FIXED64:
        return at + 8
    if kind == FIXED32:
        return at + 4
    raise UnreadableError  # groups: no contract here has any


def _tag(message: bytes, at: int, first: int) -> tuple[int, int]:
    """Return a tag that begins with the byte `first`, and where it ends."""
    tag, stop = _short(message, at, first)
    if not SMALLEST_TAG <= tag <= LARGEST_TAG:
        raise UnreadableError
    return tag, stop


def _short(message: bytes, at: int, first: int) -> tuple[int, int]:
    """Return a tag or a length that begins with the byte `first`, and where it ends."""
    value, stop = _varint(message, at, first)
    if stop - at >= LONGEST_SHORT:
        raise UnreadableError
    return value, stop


def _varint(message: bytes, at: int, first: int) -> tuple[int, int]:
    """Return a number that begins with the byte `first`, and where it ends."""
    value, shift, byte = first & 127, 7, first
    while byte > 127:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if shift > 70:
            raise UnreadableError
    return value, at
