"""The images of a request: what its input must be, and how the engine gets it."""

from collections.abc import Callable, Iterator, Sequence
from reprlib import repr as brief

from serving.api.oip.names import Named
from serving.api.oip.tensors import Buffer, InferRequest, Tensor, unpacked, wrong_count
from serving.engine.served import Served
from serving.engine.sources import Encoded, Raw, Ready, Source
from serving.errors import InvalidRequestError

LARGEST_SIDE = 2**31  # of a shape: an error names what it asks for


class Images:
    """The images of a request; each is copied out of it once, when it is read."""

    def __init__(self, images: Sequence[Buffer], source: Callable[[bytes], Source]) -> None:
        self._images, self._source = images, source

    def __len__(self) -> int:
        """Number of images."""
        return len(self._images)

    def __iter__(self) -> Iterator[Source]:
        """Read them, in order."""
        for image in self._images:
            yield self._source(bytes(image))


def images(request: InferRequest, named: Named[Served], most_images: int) -> Images:
    """Return the images of a request.

    Raises:
        InvalidRequestError: its input is not what the model takes under this name.
    """
    tensor = _only_input(request, named)
    rank = len(tensor.shape)
    if tensor.datatype == "BYTES" and not named.takes_pixels:
        if rank != 1 and (rank != 2 or tensor.shape[1] != 1):
            raise _unexpected(tensor, named)
        count = _count(tensor, named, most_images)
        return Images(_elements(tensor, count), Encoded)
    if tensor.datatype == "UINT8" and rank == 4 and tensor.shape[3] == 3:
        count = _count(tensor, named, most_images)
        return _pictures(tensor, named, count)
    raise _unexpected(tensor, named)


def _only_input(request: InferRequest, named: Named[Served]) -> Tensor:
    if len(request.inputs) != 1:
        raise InvalidRequestError(
            f"the request has {len(request.inputs)} inputs; "
            f"model {named.name!r} takes one, {named.input_name!r}: {_expected(named)}"
        )
    [tensor] = request.inputs
    if tensor.name != named.input_name:
        raise InvalidRequestError(
            f"model {named.name!r} has no input {brief(tensor.name)}; "
            f"it takes one, {named.input_name!r}: {_expected(named)}"
        )
    return tensor


def _count(tensor: Tensor, named: Named[Served], most_images: int) -> int:
    """Return the number of images, which is the batch."""
    if not all(0 < side < LARGEST_SIDE for side in tensor.shape):
        raise _unexpected(tensor, named)
    count = tensor.shape[0]
    if count > most_images:
        raise InvalidRequestError(
            f"input {tensor.name!r} holds {count} images; "
            f"this server takes at most {most_images} per request"
        )
    return count


def _elements(tensor: Tensor, count: int) -> Sequence[Buffer]:
    """Return the elements of BYTES, without a copy."""
    if isinstance(tensor.data, bytes | memoryview):
        return unpacked(tensor.name, memoryview(tensor.data), count)
    if len(tensor.data) != count:
        raise wrong_count(tensor.name, len(tensor.data), count)
    return tensor.data


def _pictures(tensor: Tensor, named: Named[Served], count: int) -> Images:
    """Return images that are pixels."""
    _, height, width, _ = tensor.shape
    if named.takes_pixels and tensor.shape[1:] != named.pixels_shape:
        raise _unexpected(tensor, named)
    if not isinstance(tensor.data, bytes | memoryview):
        raise InvalidRequestError(
            f"input {tensor.name!r} of UINT8 holds elements of BYTES; send its bytes"
        )
    data, size = memoryview(tensor.data), height * width * 3
    if len(data) != count * size:
        raise InvalidRequestError(
            f"input {tensor.name!r} has {len(data)} bytes; its shape {list(tensor.shape)} of UINT8 "
            f"asks for {count * size}"
        )
    parts = [data[at : at + size] for at in range(0, count * size, size)]
    if named.takes_pixels:
        return Images(parts, Ready)
    return Images(parts, lambda samples: Raw(samples, height, width, 3))


def _expected(named: Named[Served]) -> str:
    if named.takes_pixels:
        height, width, channels = named.pixels_shape
        return f"UINT8 [-1, {height}, {width}, {channels}], pixels as the network sees them"
    return "BYTES [-1, 1] or [-1], image files, or UINT8 [-1, height, width, 3], pixels of any size"


def _unexpected(tensor: Tensor, named: Named[Served]) -> InvalidRequestError:
    return InvalidRequestError(
        f"input {tensor.name!r} is {brief(tensor.datatype)} {brief(list(tensor.shape))}; "
        f"model {named.name!r} takes {_expected(named)}"
    )
