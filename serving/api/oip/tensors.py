"""Requests and responses of the protocol, however they travel, and what the engine makes of them.

A model has one input and one output. Its name says what the input may be, see `names`:

- `<name>`: BYTES (n, 1) or (n,), image files; or UINT8 (n, height, width, 3), pixels of any size;
- `<name>_pixels`: UINT8 (n, height, width, 3), of the size that the network sees.

The output is FP32 (n, classes), or BYTES (n, k) of `probability:index:label` on request.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from serving.errors import InvalidRequestError

Buffer = bytes | memoryview
LENGTH_BYTES = 4  # before each element of BYTES, little-endian


class Tensor(NamedTuple):
    """An input or output.

    Attributes:
        name: its name.
        datatype: the protocol's: "UINT8", "FP32", "BYTES".
        shape: with the batch first.
        data: little-endian bytes, row by row, where an element of BYTES is 4 bytes of its length
            and then itself; or a list of the elements of BYTES.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Buffer | Sequence[Buffer]


class Output(NamedTuple):
    """A requested output.

    Attributes:
        name: its name.
        classes: how many classes to return in place of the probabilities of all; 0 for those.
        binary: whether to return it as bytes; None if the request says it for all.
    """

    name: str
    classes: int = 0
    binary: bool | None = None


@dataclass(slots=True)
class InferRequest:
    """A request.

    Attributes:
        model: name of the model.
        version: its version, or a label of it; or empty.
        id: chosen by the caller and returned unchanged.
        timeout_us: within how many microseconds it must be answered; None if it does not say.
        inputs: its inputs.
        outputs: what to return; empty for all outputs there are.
        binary: whether to return outputs as bytes that do not say it themselves.
        wants_final: whether a response in a stream should say that no other one follows.
    """

    model: str = ""
    version: str = ""
    id: str = ""
    timeout_us: int | None = None
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    binary: bool = False
    wants_final: bool = False


@dataclass(slots=True)
class InferResponse:
    """A response; `outputs` are in the order of the request, data as bytes or a list of `bytes`."""

    model: str
    version: str
    id: str
    outputs: list[Tensor]


def raw(tensor: Tensor) -> bytes:
    """Return the data of an output as it travels: elements of BYTES each behind its length."""
    if isinstance(tensor.data, bytes | memoryview):
        return bytes(tensor.data)
    sized = ((len(one).to_bytes(LENGTH_BYTES, "little"), one) for one in tensor.data)
    return b"".join(chain.from_iterable(sized))


def unpacked(name: str, data: memoryview, count: int) -> list[memoryview]:
    """Return the elements of an input of BYTES, without a copy.

    Raises `InvalidRequestError` if they are not `count`, or are none.
    """
    elements: list[memoryview] = []
    at, end = 0, len(data)
    while at < end and len(elements) < count:
        start = at + LENGTH_BYTES
        size = int.from_bytes(data[at:start], "little")
        if start + size > end:
            raise InvalidRequestError(
                f"input {name!r}: element {len(elements)} is cut off: its length takes "
                f"{LENGTH_BYTES} bytes, little-endian, and says that {size} follow; "
                f"{end - at} are left for both"
            )
        at = start + size
        elements.append(data[start:at])
    if at < end:
        raise InvalidRequestError(
            f"input {name!r}: {end - at} bytes follow the {count} elements that its shape states"
        )
    if len(elements) != count:
        raise wrong_count(name, len(elements), count)
    return elements


def wrong_count(name: str, found: int, count: int) -> InvalidRequestError:
    """Return the error of an input that does not hold as many elements as its shape states."""
    return InvalidRequestError(
        f"input {name!r} holds {found} elements, and its shape states {count}"
    )
