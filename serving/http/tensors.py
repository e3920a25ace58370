"""Bodies of the Open Inference Protocol over HTTP <-> tensors: JSON, and binary data after it.

An image is not copied here: a tensor of binary data is a view of the body.
"""

import binascii
import math
from collections.abc import Sequence
from itertools import chain
from reprlib import repr as brief
from typing import Any

import numpy as np
import orjson

from serving.api.oip.tensors import InferRequest, InferResponse, Output, Tensor, raw
from serving.errors import InvalidRequestError
from serving.http.schemas import (
    HEADER,
    InferenceRequest,
    InputParameters,
    OutputParameters,
    RequestInput,
    RequestOutput,
    RequestParameters,
    read_json,
)

TEXT_HINT = (
    f"JSON cannot carry the bytes of an image file: send it as the body, with the header "
    f"`{HEADER}: 0`; or as binary data, with the parameter `binary_data_size`; or in base64, with "
    f"the parameter `content_type` `base64`"
)


def parse(body: bytes, json_bytes: int, model: str, version: str) -> InferRequest:
    """Return the request in a body whose first `json_bytes` bytes are JSON.

    Raises:
        InvalidRequestError: it is none; the message says why.
    """
    if json_bytes > len(body):
        raise InvalidRequestError(f"{HEADER} is {json_bytes}, and the body has {len(body)} bytes")
    view = memoryview(body)
    request = read_json(view[:json_bytes], InferenceRequest)
    parameters = request.parameters or RequestParameters()
    return InferRequest(
        model=model,
        version=version,
        id=request.id or "",
        timeout_us=parameters.timeout or None,
        inputs=_inputs(request.inputs, view[json_bytes:]),
        outputs=[_output(output) for output in request.outputs],
        binary=bool(parameters.binary_data_output),
    )


def build(request: InferRequest, response: InferResponse) -> tuple[bytes, int | None]:
    """Return a body, and how many bytes of it are JSON if binary data follows.

    A float32 is written with as many digits as tell it from its neighbours; JSON has no NaN, and
    gets null.
    """
    binary = {output.name: output.binary for output in request.outputs}
    outputs: list[dict[str, Any]] = []
    tails: list[bytes] = []
    for tensor in response.outputs:
        name, datatype, shape, _ = tensor
        output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
        as_bytes = binary.get(name)
        if request.binary if as_bytes is None else as_bytes:
            tails.append(raw(tensor))
            output["parameters"] = {"binary_data_size": len(tails[-1])}
        else:
            output["data"] = _values(tensor)
        outputs.append(output)
    names = {"model_name": response.model, "model_version": response.version}
    if response.id:
        names["id"] = response.id
    head = orjson.dumps({**names, "outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join((head, *tails)), len(head)) if tails else (head, None)


def _inputs(inputs: Sequence[RequestInput], binary: memoryview) -> list[Tensor]:
    """Return the tensors, of which some are in JSON and the others, in their order, in `binary`."""
    tensors, at = [], 0
    for stated in inputs:
        size = _binary_size(stated)
        data: memoryview | bytes | list[Any]
        if size is None:
            data = _elements(stated)
        else:
            data, at = binary[at : at + size], at + size
        tensors.append(Tensor(stated.name, stated.datatype, tuple(stated.shape), data))
    if at != len(binary):
        raise InvalidRequestError(
            f"the JSON is followed by {len(binary)} bytes of binary data, but the parameters "
            f"`binary_data_size` of the inputs make {at}; {HEADER} says where the JSON ends"
        )
    return tensors


def _binary_size(stated: RequestInput) -> int | None:
    """Return how many bytes of binary data a tensor has, None if it is in JSON."""
    parameters = stated.parameters or InputParameters()
    _check_memory(parameters.shared_memory_region)
    size = parameters.binary_data_size
    if (size is None) == (stated.data is None):
        raise InvalidRequestError(
            f"input {brief(stated.name)} must have either `data` or the parameter "
            f"`binary_data_size`"
        )
    return size


def _elements(stated: RequestInput) -> bytes | list[Any]:
    """Return the elements of a tensor in JSON: of UINT8 as its bytes, of others one by one."""
    assert stated.data is not None
    elements = _flat(stated, stated.data)
    if stated.datatype == "UINT8":
        try:
            if set(map(type, elements)) <= {int}:
                return bytes(elements)
        except ValueError:  # a number of more than a byte
            pass
        raise InvalidRequestError(
            f"input {brief(stated.name)} of UINT8 must hold whole numbers from 0 to 255"
        )
    if stated.datatype == "BYTES":
        return _decoded(stated, elements)
    return elements  # no model takes them, which is said once the model is known


def _flat(stated: RequestInput, data: list[Any]) -> list[Any]:
    """Return the elements of nested lists row by row, if they are as the shape says."""
    if set(map(type, data)) == {list}:
        for size in stated.shape[1:]:
            if set(map(type, data)) - {list} or set(map(len, data)) - {size}:
                break
            data = list(chain.from_iterable(data))
    if list in set(map(type, data)) or len(data) != math.prod(stated.shape):
        raise InvalidRequestError(
            f"input {brief(stated.name)}: `data` must have the shape {stated.shape}, nested as it "
            f"says or as one list of {math.prod(stated.shape)} elements, row by row"
        )
    return data


def _decoded(stated: RequestInput, elements: list[Any]) -> list[bytes]:
    """Return the files of a BYTES tensor in JSON."""
    parameters = stated.parameters
    if not parameters or parameters.content_type != "base64":
        raise InvalidRequestError(f"input {brief(stated.name)}: {TEXT_HINT}")
    try:
        return [binascii.a2b_base64(element, strict_mode=True) for element in elements]
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"input {brief(stated.name)} is not base64: {error}") from None


def _output(stated: RequestOutput) -> Output:
    parameters = stated.parameters or OutputParameters()
    _check_memory(parameters.shared_memory_region)
    return Output(stated.name, parameters.classification or 0, parameters.binary_data)


def _check_memory(region: str | None) -> None:
    if region is not None:
        raise InvalidRequestError(
            "this server has no shared memory; send and ask for tensors in bodies"
        )


def _values(output: Tensor) -> Any:
    """Return an output as what JSON makes a list of: numbers, or text."""
    if isinstance(output.data, bytes | memoryview):
        return np.frombuffer(output.data, "<f4")
    return [bytes(text).decode() for text in output.data]
