"""What a ClassifyRequest holds, within bounds, and without a copy of its image files.

The walk over its fields finds where those are. They are copied out of the message once, when they
enter, and the parser gets what is left: a few bytes.
"""

from collections.abc import Iterator

from google.protobuf.message import DecodeError

from protos import classifier_pb2 as pb
from serving.api.fields import MOST_FIELDS, UnreadableError, check_name, fields, name_of
from serving.engine.sources import Encoded, Raw, Source
from serving.errors import InvalidRequestError

REQUEST = pb.ClassifyRequest.DESCRIPTOR.fields_by_name
IMAGE = pb.Image.DESCRIPTOR.fields_by_name
IMAGES, ID = REQUEST["images"].number, REQUEST["id"].number
ENCODED, RAW = IMAGE["encoded"].number, IMAGE["raw"].number
NAMES = {REQUEST[name].number: name for name in ("id", "model", "version")}
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
        for number, start, stop in fields(message, 0, len(message), most_images + MOST_FIELDS):
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
    except UnreadableError as error:
        raise InvalidRequestError(f"{UNREADABLE}{error}") from None
    except (DecodeError, UnicodeDecodeError):  # protobuf in Python raises the second one, too
        raise InvalidRequestError(UNREADABLE) from None


def id_of(message: bytes, most_images: int) -> str:
    """Return the id of a request that was refused, empty if it cannot be found."""
    return name_of(message, ID, most_images + MOST_FIELDS)


def _image(message: bytes, start: int, stop: int) -> slice | Source:
    """Return where an image's file is, or its pixels, within the bounds of both."""
    file, is_raw = slice(stop, stop), False
    for number, inner_start, inner_stop in fields(message, start, stop, MOST_FIELDS):
        if number == ENCODED:
            file = slice(inner_start, inner_stop)
        elif number == RAW:
            is_raw = True
            for _ in fields(message, inner_start, inner_stop, MOST_FIELDS):
                pass
    return _source(pb.Image.FromString(message[start:stop])) if is_raw else file


def _source(image: pb.Image) -> Source:
    if image.WhichOneof("source") == "encoded":  # a file after pixels replaces them
        return Encoded(image.encoded)
    raw = image.raw
    return Raw(raw.pixels, raw.height, raw.width, raw.channels)
