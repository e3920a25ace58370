"""The messages between a front end and the engine.

Both are of one release on one machine, so numbers are little-endian and times are the monotonic
clock's, which both read alike. A request is named by a number that its front end chose, an image by
that and its place, a model by a number that the engine chose. An image of a caller of the engine
process is the only one of a request, whose number the engine chose. What is rare is JSON.
"""

import json
import struct
from array import array
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from serving import errors
from serving.engine.job import Answer, Prediction, Timing
from serving.engine.sources import Encoded, Raw, Ready, Size
from serving.errors import OverloadedError, ServingError
from serving.frontend.link import frame


class Kind(IntEnum):
    """What a message says."""

    # From a front end.
    ASK = 1  # may these images enter?
    READY = 2  # images are decoded
    FAILED = 3  # an image cannot be decoded
    DROPPED = 4  # an image was not decoded: its time is up
    SLOW = 5  # an image has turned out to be slow to decode
    LEAVE = 6  # the caller has left
    EXPIRE = 7  # the deadline has passed
    LEARN = 8  # how long an image took that could not be decoded
    CALL = 9  # a call that classifies nothing
    CANCEL = 10  # its caller has left
    # From the engine.
    GRANT = 16  # decode these images
    REFUSE = 17  # none of them may enter
    ANSWER = 18  # what became of all images
    FREE = 19  # nobody reads these slots any more
    RETURN = 20  # the answer to a call
    DECODE = 21  # decode an image of a caller of the engine process
    OVER = 22  # the requests of such images have ended
    # From both.
    TELL = 32  # JSON


KINDS = ("unknown", "JPEG", "PNG", "WEBP", "BMP", "raw", "ready")
KIND_NUMBERS = {kind: number for number, kind in enumerate(KINDS)}
ERRORS: tuple[type[ServingError], ...] = (
    errors.InternalError,
    errors.InvalidRequestError,
    errors.InvalidImageError,
    errors.ModelNotFoundError,
    errors.RepositoryError,
    errors.OverloadedError,
    errors.DeadlineExceededError,
    errors.UnavailableError,
    errors.DeviceLostError,
    errors.ProcessLostError,
    errors.OutOfDeviceMemoryError,
)
ERROR_NUMBERS = {error: number for number, error in enumerate(ERRORS)}

# call, model, arrived, deadline, bytes of the message, bytes of the caller's name
ASK = struct.Struct("<IHddQH")
# kind, slot or -1, pixels, bytes, when it was decoded and until when, if it was
IMAGE = struct.Struct("<BiQQdd")
# call, index, slot, when it was decoded and until when, the time of a core, in seconds
READY_IMAGE = struct.Struct("<IIiddd")
CALL = struct.Struct("<I")
PLACE = struct.Struct("<II")  # call, index
GRANTED = struct.Struct("<I?")  # index, whether it is slow to decode
# call, model, whether it is slow to decode, when its request came, its deadline, which of `SOURCES`
# it is, and the height, width and channels of a `Raw`
DECODE = struct.Struct("<IH?ddB3I")
LEARN = struct.Struct("<HBQQd")  # model, kind, pixels, bytes, the time of a core
ERROR = struct.Struct("<BII")  # number of the class, milliseconds until a retry, bytes of the text
TIMING = struct.Struct("<5dIdI")  # a `Timing`, and the number of classes
ONE_ANSWER = struct.Struct("<IB5dIdI")  # call, 1, and a `TIMING`
MODEL = struct.Struct("<H")
SOURCES: tuple[type[Encoded | Raw | Ready], ...] = Encoded, Raw, Ready
GONE = "the model has just been unloaded; try again"
# Calls numbered from here on are the engine's.
FIRST_ENGINE_CALL = 2**31


class Ask(NamedTuple):
    """A request that asks to enter; `images` is left to be read."""

    call: int
    model: int
    arrived: float
    deadline: float
    nbytes: int
    caller: str
    images: memoryview

    @classmethod
    def read(cls, body: memoryview) -> "Ask":
        """Read a message."""
        call, model, arrived, deadline, nbytes, name_size = ASK.unpack_from(body)
        end = ASK.size + name_size
        name = str(body[ASK.size : end], "utf-8") if name_size else ""
        return cls(call, model, arrived, deadline, nbytes, name, body[end:])


def ask(
    call: int,
    model: int,
    arrived: float,
    deadline: float,
    nbytes: int,
    caller: bytes,
    images: Sequence[bytes],
) -> bytes:
    """Return an ASK; `images` are from `image`."""
    head = ASK.pack(call, model, arrived, deadline, nbytes, len(caller))
    return frame(Kind.ASK, head, caller, *images)


def image(size: Size, slot: int = -1, started: float = 0.0, decoded: float = 0.0) -> bytes:
    """Return an image of an ASK."""
    return IMAGE.pack(KIND_NUMBERS[size.kind], slot, size.pixels, size.nbytes, started, decoded)


class Decode(NamedTuple):
    """An image of a caller of the engine process, for a front end to decode."""

    call: int
    model: int
    is_slow: bool
    arrived: float
    deadline: float
    source: Encoded | Raw | Ready

    @classmethod
    def read(cls, body: memoryview) -> "Decode":
        """Read a message."""
        call, model, is_slow, arrived, deadline, kind, *shape = DECODE.unpack_from(body)
        data, source_class = bytes(body[DECODE.size :]), SOURCES[kind]
        source = Raw(data, *shape) if source_class is Raw else source_class(data)
        return cls(call, model, is_slow, arrived, deadline, source)

    def message(self) -> bytes:
        """Return the message."""
        *told, source = self
        shape = source[1:] if isinstance(source, Raw) else (0, 0, 0)
        data = source.data if isinstance(source, Encoded) else source.samples
        head = DECODE.pack(*told, SOURCES.index(type(source)), *shape)
        return frame(Kind.DECODE, head, data)


def over(calls: Sequence[int]) -> bytes:
    """Return an OVER."""
    return frame(Kind.OVER, array("I", calls).tobytes())


def read_over(body: memoryview) -> list[int]:
    """Return the calls of an OVER."""
    return array("I", bytes(body)).tolist()


def free(model: int, slots: Sequence[int]) -> bytes:
    """Return a FREE."""
    return frame(Kind.FREE, MODEL.pack(model), array("I", slots).tobytes())


def read_free(body: memoryview) -> tuple[int, list[int]]:
    """Return the model and the slots of a FREE."""
    slots = array("I", bytes(body[MODEL.size :]))
    return MODEL.unpack_from(body)[0], slots.tolist()


def refusal(call: int, error: ServingError) -> bytes:
    """Return a REFUSE."""
    return frame(Kind.REFUSE, CALL.pack(call), error_bytes(error))


def error_bytes(error: ServingError) -> bytes:
    """Return an error as part of a message."""
    text = str(error).encode(errors="backslashreplace")
    retry_ms = error.retry_after_ms if isinstance(error, OverloadedError) else 0
    return ERROR.pack(ERROR_NUMBERS.get(type(error), 0), retry_ms, len(text)) + text


def read_error(body: memoryview, at: int) -> tuple[ServingError, int]:
    """Return the error that begins at `at`, and where it ends."""
    number, retry_ms, size = ERROR.unpack_from(body, at)
    end = at + ERROR.size + size
    text, kind = str(body[at + ERROR.size : end], "utf-8"), ERRORS[number]
    if kind is OverloadedError:
        return OverloadedError(text, retry_ms), end
    return kind(text), end


def answer(call: int, answers: Sequence[Answer]) -> bytes:
    """Return an ANSWER."""
    if len(answers) == 1 and isinstance(one := answers[0], Prediction):
        row = one.probabilities
        return frame(Kind.ANSWER, ONE_ANSWER.pack(call, 1, *one.timing, len(row)), row.tobytes())
    parts = [CALL.pack(call)]
    for each in answers:
        if isinstance(each, Prediction):
            row = each.probabilities
            parts += b"\1", TIMING.pack(*each.timing, len(row)), row.tobytes()
        else:
            parts += b"\0", error_bytes(each)
    return frame(Kind.ANSWER, *parts)


def read_answers(body: memoryview) -> Iterator[Answer]:
    """Yield the answers of an ANSWER; its call is a `CALL`."""
    at, end = CALL.size, len(body)
    while at < end:
        is_prediction, at = body[at], at + 1
        if not is_prediction:
            error, at = read_error(body, at)
            yield error
            continue
        *timing, classes = TIMING.unpack_from(body, at)
        at += TIMING.size
        row = np.frombuffer(body, np.float32, classes, at).copy()
        at += row.nbytes
        yield Prediction(row, Timing(*timing))


def tell(**what: object) -> bytes:
    """Return a TELL."""
    return frame(Kind.TELL, json.dumps(what).encode())
