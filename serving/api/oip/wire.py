"""ModelInferRequest and ModelInferResponse as gRPC carries them.

As in `serving.api.wire`, the walk over a request's fields finds its tensors, which are neither
parsed nor copied here. The parser gets what is left, which is bounded as a whole: then it does not
matter what it holds.
"""

from collections.abc import Sequence
from reprlib import repr as brief

import numpy as np
from google.protobuf.message import DecodeError

from protos import open_inference_pb2 as pb
from serving.api.fields import MOST_FIELDS, UnreadableError, check_name, fields, name_of
from serving.api.oip.tensors import (
    InferRequest,
    InferResponse,
    Output,
    Tensor,
    raw,
)
from serving.errors import InvalidRequestError

InputTensor = pb.ModelInferRequest.InferInputTensor
RequestedOutput = pb.ModelInferRequest.InferRequestedOutputTensor
REQUEST = pb.ModelInferRequest.DESCRIPTOR.fields_by_name
ID, INPUTS, RAW = (REQUEST[name].number for name in ("id", "inputs", "raw_input_contents"))
CONTENTS = InputTensor.DESCRIPTOR.fields_by_name["contents"].number
# The fields of contents by number.
DATATYPES = {field.number: field.name for field in pb.InferTensorContents.DESCRIPTOR.fields}
FILES, PIXELS = "bytes_contents", "uint_contents"
LARGEST_REST = 65536  # bytes of a request without its tensors
# Bytes of packed numbers: gRPC's thread takes up to 5 ns for each.
LARGEST_NUMBERS = 4 * 2**20
SHARED_MEMORY = "shared_memory_region"
FINAL_ASKED, FINAL = "triton_enable_empty_final_response", "triton_final_response"
UNREADABLE = "the message cannot be read as a ModelInferRequest"
Data = memoryview | list[memoryview] | bytes


def parse(message: bytes, most_images: int) -> InferRequest:
    """Return a request that is within the bounds.

    Raises:
        InvalidRequestError: it is none, or holds too much, or a parameter that is wrong.
    """
    try:
        return _parse(message, most_images)
    except UnreadableError as error:
        raise InvalidRequestError(f"{UNREADABLE}{error}") from None
    except (DecodeError, UnicodeDecodeError):  # protobuf in Python raises the second one, too
        raise InvalidRequestError(UNREADABLE) from None


def id_of(message: bytes) -> str:
    """Return the id of a request that was refused, empty if it cannot be found."""
    return name_of(message, ID, MOST_FIELDS)


def to_message(response: InferResponse, *, is_final: bool = False) -> pb.ModelInferResponse:
    """Return the message of a response; `is_final` says so in its parameters."""
    outputs = response.outputs
    message = pb.ModelInferResponse(
        model_name=response.model,
        model_version=response.version,
        id=response.id,
        outputs=[
            {"name": one.name, "datatype": one.datatype, "shape": one.shape} for one in outputs
        ],
        raw_output_contents=[raw(one) for one in outputs],
    )
    if is_final:
        message.parameters[FINAL].bool_param = True
    return message


def _parse(message: bytes, most_images: int) -> InferRequest:
    view, tensors = memoryview(message), list[memoryview]()
    inputs: list[tuple[pb.ModelInferRequest.InferInputTensor, Data | None]] = []
    rest = _Rest(message)
    end = 0  # of the last field
    for number, start, stop in fields(message, 0, len(message), MOST_FIELDS):
        if number == RAW:
            tensors.append(view[start:stop])
        elif number == INPUTS:
            inputs.append(_input(message, start, stop, rest, most_images))
        else:
            rest.add(end, stop)
        end = stop
    parsed = pb.ModelInferRequest.FromString(rest.joined())
    check_name("id", len(parsed.id.encode()))
    if tensors and len(tensors) != len(inputs):
        raise InvalidRequestError(
            f"the request has {len(inputs)} inputs and {len(tensors)} raw_input_contents; "
            f"there must be one for each input, or none"
        )
    if tensors and any(contents is not None for _, contents in inputs):
        raise InvalidRequestError("an input has both raw_input_contents and contents; send one")
    request = InferRequest(
        parsed.model_name,
        parsed.model_version,
        parsed.id,
        inputs=[
            _tensor(tensor, tensors[index] if tensors else contents)
            for index, (tensor, contents) in enumerate(inputs)
        ],
        outputs=[_output(output) for output in parsed.outputs],
    )
    parameters = parsed.parameters
    if "timeout" in parameters:
        request.timeout_us = _timeout_us(_value(parameters["timeout"]))
    if FINAL_ASKED in parameters:
        request.wants_final = parameters[FINAL_ASKED].bool_param
    return request


class _Rest:
    """The parts of a message that are parsed, within their bound."""

    def __init__(self, message: bytes) -> None:
        self._message, self._parts, self._left = message, list[bytes](), LARGEST_REST

    def add(self, start: int, stop: int) -> None:
        """Add a part."""
        self._parts.append(self.take(start, stop))

    def take(self, start: int, stop: int) -> bytes:
        """Return a part that is parsed by itself."""
        self._left -= stop - start
        if self._left < 0:
            raise InvalidRequestError(
                f"the request without its tensors has more than {LARGEST_REST} bytes"
            )
        return self._message[start:stop]

    def joined(self) -> bytes:
        """Return the parts that were added."""
        return b"".join(self._parts)


def _input(
    message: bytes, start: int, stop: int, rest: _Rest, most_images: int
) -> tuple[pb.ModelInferRequest.InferInputTensor, Data | None]:
    """Return an input without its contents, and those if it has them."""
    contents: Data | None = None
    parts, end = [], start
    for number, inner_start, inner_stop in fields(message, start, stop, MOST_FIELDS):
        if number == CONTENTS:
            contents = _contents(message, inner_start, inner_stop, contents, most_images)
        else:
            parts.append(rest.take(end, inner_stop))
        end = inner_stop
    return InputTensor.FromString(b"".join(parts)), contents


def _contents(message: bytes, start: int, stop: int, before: Data | None, most_images: int) -> Data:
    """Return the elements in `contents`: image files, or the bytes of pixels."""
    view, found = memoryview(message), dict[str, list[memoryview]]()
    for number, inner_start, inner_stop in fields(message, start, stop, most_images + MOST_FIELDS):
        # A number of scalars is 0, unless they are packed: all of them at once.
        found.setdefault(DATATYPES.get(number, ""), []).append(view[inner_start:inner_stop])
    if before is not None or len(found) != 1 or not found.keys() <= {FILES, PIXELS}:
        raise InvalidRequestError(
            f"the `contents` of an input must hold either {FILES} or {PIXELS}, packed, once; "
            f"raw_input_contents is quicker"
        )
    [(kind, elements)] = found.items()
    return elements if kind == FILES else _octets(elements)


def _octets(chunks: Sequence[memoryview]) -> bytes:
    """Return the bytes of packed numbers up to 255, each of which is one byte, or itself and a 1.

    A number from 128 to 255 has its eighth bit where protobuf says that another byte follows.
    """
    if sum(map(len, chunks)) > LARGEST_NUMBERS:
        raise InvalidRequestError(
            f"the {PIXELS} of an input have more than {LARGEST_NUMBERS} bytes; "
            f"send them in raw_input_contents, which takes any number"
        )
    found = np.frombuffer(b"".join(chunks), np.uint8)
    is_first = np.ones(len(found) + 1, bool)
    np.less(found, 128, out=is_first[1:])
    if not is_first[-1] or not (is_first[:-1] | (found == 1)).all():
        raise InvalidRequestError(f"the {PIXELS} of an input must be numbers from 0 to 255")
    return found[is_first[:-1]].tobytes()


def _tensor(tensor: pb.ModelInferRequest.InferInputTensor, data: Data | None) -> Tensor:
    if data is None:
        instead = ""
        if SHARED_MEMORY in tensor.parameters:
            instead = ", and this server has no shared memory"
        raise InvalidRequestError(
            f"an input has neither raw_input_contents nor contents{instead}; send the tensor in "
            f"the message"
        )
    if isinstance(data, bytes) and tensor.datatype == "BYTES":
        raise InvalidRequestError(f"the elements of BYTES must be in {FILES}, not in {PIXELS}")
    return Tensor(tensor.name, tensor.datatype, tuple(tensor.shape), data)


def _output(output: pb.ModelInferRequest.InferRequestedOutputTensor) -> Output:
    name, parameters = output.name, output.parameters
    if SHARED_MEMORY in parameters:
        raise InvalidRequestError(
            "an output should go to shared memory, and this server has none; ask for it in the "
            "message"
        )
    if "classification" in parameters:
        return Output(name, _classes(name, _value(parameters["classification"])))
    return Output(name)


def _timeout_us(value: object) -> int | None:
    """Return the request's parameter `timeout`, in microseconds; 0 is none, as in Triton."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidRequestError(
            f"the parameter `timeout` is {brief(value)}; "
            f"it must be a number of microseconds, from 0 up"
        )
    return value or None


def _classes(output: str, value: object) -> int:
    """Return an output's parameter `classification`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidRequestError(
            f"the parameter `classification` of output {brief(output)} is {brief(value)}; "
            f"it must be a number of classes, from 1 up"
        )
    return value


def _value(parameter: pb.InferParameter) -> object:
    choice = parameter.WhichOneof("parameter_choice")
    return getattr(parameter, choice) if choice else None
