"""What a message holds, seen before it is parsed: a parser has no bound but the message's size.

An empty image is two bytes on the wire and fifty once it is parsed, so that 32 MiB of them take
767 MiB and half a second of gRPC's only thread. The walk here reads tags and lengths, skips what is
between them, and ends at the first thing that is too much. An image costs it a microsecond.
"""

from collections.abc import Iterator

from google.protobuf.message import DecodeError

from protos import classifier_pb2 as pb
from serving.errors import InvalidRequestError

REQUEST = pb.ClassifyRequest.DESCRIPTOR.fields_by_name
IMAGES = REQUEST["images"].number
RAW = pb.Image.DESCRIPTOR.fields_by_name["raw"].number
ID = REQUEST["id"].number
NAMES = {REQUEST[name].number: name for name in ("id", "model", "version")}
LONGEST_NAME = 1024  # bytes
# Fields besides images, and fields of an image and of its pixels: there are 5, 1 and 4. The rest is
# for those that a later version of the contract adds, which are read over.
MOST_FIELDS = 32
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
UNREADABLE = "the message cannot be read as a ClassifyRequest"


def parse(message: bytes, most_images: int) -> pb.ClassifyRequest:
    """Return a request that is within the bounds.

    Raises:
        InvalidRequestError: it is none, or holds too many images, or a name that is too long.
    """
    check(message, most_images)
    try:
        return pb.ClassifyRequest.FromString(message)
    except DecodeError:
        raise InvalidRequestError(UNREADABLE) from None


def check(message: bytes, most_images: int) -> None:
    """Raise `InvalidRequestError` if a message is more than should be parsed."""
    images = 0
    for number, start, stop in _fields(message, 0, len(message), most_images + MOST_FIELDS):
        if number == IMAGES:
            images += 1
            if images > most_images:
                raise InvalidRequestError(
                    f"the request holds too many images; this server takes at most {most_images} "
                    f"per request"
                )
            _check_image(message, start, stop)
        elif number in NAMES:
            check_name(NAMES[number], stop - start)


def check_name(field: str, nbytes: int) -> None:
    """Raise `InvalidRequestError` if a name is too long."""
    if nbytes > LONGEST_NAME:
        raise InvalidRequestError(
            f"`{field}` has {nbytes} bytes; it may have at most {LONGEST_NAME}"
        )


def id_of(message: bytes, most_images: int) -> str:
    """Return the id of a request that was refused, empty if it cannot be found."""
    try:
        for number, start, stop in _fields(message, 0, len(message), most_images + MOST_FIELDS):
            if number == ID and stop - start <= LONGEST_NAME:
                return message[start:stop].decode()
    except (InvalidRequestError, UnicodeDecodeError):
        pass
    return ""


def _check_image(message: bytes, start: int, stop: int) -> None:
    """Count the fields of an image, and those of its pixels."""
    for number, inner_start, inner_stop in _fields(message, start, stop, MOST_FIELDS):
        if number == RAW:
            for _ in _fields(message, inner_start, inner_stop, MOST_FIELDS):
                pass


def _fields(message: bytes, at: int, end: int, most: int) -> Iterator[tuple[int, int, int]]:
    """Yield the fields in `message[at:end]`: number, start and stop; number 0 for a scalar.

    Raises `InvalidRequestError` if they are more than `most`, or are none.
    """
    try:
        while at < end:
            if not most:
                raise InvalidRequestError(f"{UNREADABLE}: it has too many fields")
            most -= 1
            tag = message[at]
            at += 1
            if tag > 127:
                tag, at = _varint(message, at, tag)
            kind = tag & 7
            if kind == BYTES:
                size = message[at]
                at += 1
                if size > 127:
                    size, at = _varint(message, at, size)
                start, at = at, at + size
                yield tag >> 3, start, at
            else:
                at = _skip(message, at, kind)
                yield 0, at, at
    except IndexError:
        at = end + 1
    if at > end:
        raise InvalidRequestError(UNREADABLE)


def _skip(message: bytes, at: int, kind: int) -> int:
    """Return where the value ends that begins at `at`."""
    if kind == VARINT:
        return _varint(message, at + 1, message[at])[1]
    if kind == FIXED64:
        return at + 8
    if kind == FIXED32:
        return at + 4
    raise InvalidRequestError(UNREADABLE)  # groups: the contract has none


def _varint(message: bytes, at: int, first: int) -> tuple[int, int]:
    """Return a number that begins with the byte `first`, and where it ends."""
    value, shift, byte = first & 127, 7, first
    while byte > 127:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if shift > 70:
            raise InvalidRequestError(UNREADABLE)
    return value, at
