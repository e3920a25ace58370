"""The JSON of the Open Inference Protocol: what validates a request is what OpenAPI shows.

The protocol is at https://github.com/kserve/open-inference-protocol, its extensions for binary data
and classes at https://github.com/triton-inference-server/server/tree/main/docs/protocol. Both say
that a server ignores parameters that it does not know.
"""

from http import HTTPStatus
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError
from starlette.exceptions import HTTPException

from serving.errors import InvalidRequestError
from serving.http.openapi import REFERENCE, Schema

# Beyond what any model here takes: a request is refused before it costs more than its bytes do.
MOST_TENSORS, MOST_DIMENSIONS, LONGEST_NAME = 16, 8, 1024
# Parsing keeps Python's lock: 8 ms for 1 MiB of numbers, and takes up to 18 times the memory. Lists
# take ten times as long as numbers, because the garbage collector looks at each.
LARGEST_JSON, MOST_BRACKETS = 2 * 2**20, 2**16
HEADER = "Inference-Header-Content-Length"

Name = Annotated[str, Field(max_length=LONGEST_NAME)]
Natural = Annotated[int, Field(ge=0)]
Read = TypeVar("Read", bound="Json")


class Json(BaseModel):
    """An object; no value is converted, and fields that are not here are ignored."""

    model_config = ConfigDict(strict=True)


class InputParameters(Json):
    """What this server knows of an input's parameters."""

    binary_data_size: Natural | None = Field(
        None, description="bytes of the tensor in the binary data that follows the JSON"
    )
    content_type: str | None = Field(
        None, description="`base64` if each element of a BYTES tensor in `data` is in base64"
    )
    shared_memory_region: str | None = Field(None, description="not supported")


class RequestInput(Json):
    """An input tensor."""

    name: Name
    datatype: Name = Field(description="`BYTES` for image files, `UINT8` for pixels")
    shape: Annotated[list[Natural], FailFast(), Field(max_length=MOST_DIMENSIONS)]
    parameters: InputParameters | None = None
    data: list[Any] | None = Field(
        None, description="the elements, nested as the shape says or in one list, row by row"
    )


class OutputParameters(Json):
    """What this server knows of a requested output's parameters."""

    binary_data: bool | None = Field(None, description="whether to return it as binary data")
    classification: Annotated[int, Field(ge=1)] | None = Field(
        None, description="return so many `value:index:label` per image, the most probable first"
    )
    shared_memory_region: str | None = Field(None, description="not supported")


class RequestOutput(Json):
    """An output that is asked for."""

    name: Name
    parameters: OutputParameters | None = None


class RequestParameters(Json):
    """What this server knows of a request's parameters."""

    binary_data_output: bool | None = Field(
        None, description="whether outputs that do not say so are returned as binary data"
    )
    timeout: Natural | None = Field(
        None, description="time in which the answer is of use, in microseconds; 0 for the default"
    )


class InferenceRequest(Json):
    """Images to classify."""

    id: Name | None = Field(None, description="comes back in the answer")
    inputs: Annotated[list[RequestInput], FailFast(), Field(max_length=MOST_TENSORS)]
    outputs: Annotated[list[RequestOutput], FailFast(), Field(max_length=MOST_TENSORS)] = Field(
        default=[], description="unset: all there are"
    )
    parameters: RequestParameters | None = None


class IndexRequest(Json):
    """Which models the index should list."""

    ready: bool = Field(default=False, description="only those that answer")


class ChangeRequest(Json):
    """What is to be loaded or unloaded, beside the name in the path."""

    parameters: dict[str, Any] | None = Field(
        None,
        description="`version`: only this one, beside those that are loaded; `unload_dependents` "
        "changes nothing; `config` and `file:…` are refused, because a bundle is sealed",
    )


def schema_of(model: type[Json]) -> Schema:
    """Return the JSON Schema of a model; it refers to those of its parts as OpenAPI does."""
    return model.model_json_schema(ref_template=REFERENCE + "{model}")


def read_json(json: bytes | memoryview, model: type[Read]) -> Read:
    """Return what JSON says.

    Raises:
        HTTPException: it is too large (413).
        InvalidRequestError: it is no JSON, not what the model states, or too much of it.
    """
    if len(json) > LARGEST_JSON:
        raise HTTPException(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the JSON of the request has {len(json)} bytes; it may have at most {LARGEST_JSON}. "
            f"Send tensors as binary data after it, or an image file as the body: {HEADER} says "
            f"where the JSON ends",
        )
    text = bytes(json)
    if text.count(b"[") + text.count(b"{") > MOST_BRACKETS:
        raise InvalidRequestError(
            f"the JSON of the request holds more than {MOST_BRACKETS} arrays and objects; send "
            f"the elements of a tensor in one array, or as binary data"
        )
    try:
        return model.model_validate(orjson.loads(text))
    except orjson.JSONDecodeError as error:
        why = "it is not UTF-8" if "UTF-8" in error.msg else error
        raise InvalidRequestError(
            f"the body is not JSON ({why}); if it is an image file, add the header `{HEADER}: 0`"
        ) from None
    except ValidationError as invalid:
        raise InvalidRequestError(f"the request cannot be read: {_first(invalid)}") from None


def _first(invalid: ValidationError) -> str:
    """Return the first thing that is wrong, and where."""
    error = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
    what = error["msg"][0].lower() + error["msg"][1:]
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    where = "".join(parts).lstrip(".")
    return f"`{where}`: {what}" if where else what
