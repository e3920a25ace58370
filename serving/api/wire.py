"""What a message holds, seen before it is parsed: a parser has no bound but the message's size.

An empty image is two bytes on the wire and fifty once it is parsed, so that 32 MiB of them take
767 MiB and half a second of gRPC's only thread. The walk here reads tags and lengths, skips what is
between them, and ends at the first thing that is too much. An image costs it a microsecond.

It also finds where the image files are. They are copied out of the message once, when they enter,
and the parser gets what is left: a few bytes.
"""

from collections.abc import Iterator

from google.protobuf.message import DecodeError

from protos import classifier_pb2 as pb
from serving.engine.sources import Encoded, Raw, Source
from serving.errors import InvalidRequestError

REQUEST = pb.ClassifyRequest.DESCRIPTOR.fields_by_name
IMAGE = pb.Image.DESCRIPTOR.fields_by_name
IMAGES, ID = REQUEST["images"].number, REQUEST["id"].number
ENCODED, RAW = IMAGE["encoded"].number, IMAGE["raw"].number
NAMES = {REQUEST[name].number: name for name in ("id", "model", "version")}
LONGEST_NAME = 1024  # bytes
# Fields besides images, and fields of an image and of its pixels: there are 5, 1 and 4. The rest is
# for those that a later version of the contract adds, which are read over.
MOST_FIELDS = 32
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
# A tag holds the number of a field, 1 to 2**29 - 1, and three bits for its kind.
SMALLEST_TAG, LARGEST_TAG = 1 << 3, (1 << 32) - 1
LONGEST_SHORT = 5  # bytes of a tag or a length; protobuf reads no longer ones
UNREADABLE = "the message cannot be read as a ClassifyRequest"


class Request:
    """A request that is within the bounds: its images, read when they are iterated over.

    Args:
        options: all that it holds but the images.
        message: the whole of it.
        images: for each image, where its file is in the message; or its pixels.

    Attributes:
        options: as above.
    """

    __slots__ = ("_images", "_message", "options")

    def __init__(
        self, options: pb.ClassifyRequest, message: bytes, images: list[slice | Source]
    ) -> None:
        self.options, self._message, self._images = options, message, images

    def __len__(self) -> int:
        """Number of images."""
        return len(self._images)

    def __iter__(self) -> Iterator[Source]:
        """Read them, in order."""
        for image in self._images:
            yield Encoded(self._message[image]) if isinstance(image, slice) else image


def parse(message: bytes, most_images: int) -> Request:
    """Return a request that is within the bounds.

    Raises:
        InvalidRequestError: it is none, or holds too many images, or a name that is too long.
    """
    images: list[slice | Source] = []
    others: list[bytes] = []  # the fields that are no images
    end = 0  # of the last field
    try:
        for number, start, stop in _fields(message, 0, len(message), most_images + MOST_FIELDS):
            if number == IMAGES:
                if len(images) == most_images:
                    raise InvalidRequestError(
                        f"the request holds too many images; this server takes at most "
                        f"{most_images} per request"
                    )
                images.append(_image(message, start, stop))
            else:
                if number in NAMES:
                    check_name(NAMES[number], stop - start)
                others.append(message[end:stop])
            end = stop
        return Request(pb.ClassifyRequest.FromString(b"".join(others)), message, images)
    except (DecodeError, UnicodeDecodeError):  # protobuf in Python raises the second one, too
        raise InvalidRequestError(UNREADABLE) from None


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


def _image(message: bytes, start: int, stop: int) -> slice | Source:
    """Return where an image's file is, or its pixels, within the bounds of both."""
    file, is_raw = slice(stop, stop), False
    for number, inner_start, inner_stop in _fields(message, start, stop, MOST_FIELDS):
        if number == ENCODED:
            file = slice(inner_start, inner_stop)
        elif number == RAW:
            is_raw = True
            for _ in _fields(message, inner_start, inner_stop, MOST_FIELDS):
                pass
    return _source(pb.Image.FromString(message[start:stop])) if is_raw else file


def _source(image: pb.Image) -> Source:
    if image.WhichOneof("source") == "encoded":  # a file after pixels replaces them
        return Encoded(image.encoded)
    raw = image.raw
    return Raw(raw.pixels, raw.height, raw.width, raw.channels)


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


def _tag(message: bytes, at: int, first: int) -> tuple[int, int]:
    """Return a tag that begins with the byte `first`, and where it ends."""
    tag, stop = _short(message, at, first)
    if not SMALLEST_TAG <= tag <= LARGEST_TAG:
        raise InvalidRequestError(UNREADABLE)
    return tag, stop


def _short(message: bytes, at: int, first: int) -> tuple[int, int]:
    """Return a tag or a length that begins with the byte `first`, and where it ends."""
    value, stop = _varint(message, at, first)
    if stop - at >= LONGEST_SHORT:
        raise InvalidRequestError(UNREADABLE)
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
            raise InvalidRequestError(UNREADABLE)
    return value, at
