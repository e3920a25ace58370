"""Inference in the Open Inference Protocol: `POST /v2/models/{model}/infer`."""

import asyncio
import math
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Header
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from serving.api.messages import MANY_CLASSES
from serving.api.oip.inputs import images
from serving.api.oip.names import Named, find
from serving.api.oip.outputs import answer, check_outputs, classes_of
from serving.api.oip.tensors import InferRequest, Tensor
from serving.engine.job import Answer
from serving.errors import InvalidRequestError
from serving.http.calls import Calls, TimeoutHeader, caller_of, never_null
from serving.http.errors import JsonResponse
from serving.http.openapi import (
    BINARY,
    IMAGE_ERRORS,
    TEXT,
    Schema,
    json_content,
    list_schema,
    object_schema,
    responses,
)
from serving.http.recording import record_of, request_id
from serving.http.routes import DirectRoute, versioned
from serving.http.schemas import HEADER, InferenceRequest, schema_of
from serving.http.tensors import build, parse

# JSON of more bytes is parsed in a thread, and only one at a time: it may take 18 times as many.
LARGE_JSON = 2**16
# Probabilities that are written in the time of one class with its label.
PROBABILITIES_PER_CLASS = 16
BODY = {
    "required": True,
    "description": "JSON; or JSON followed by binary data; or only an image file",
    "content": json_content(schema_of(InferenceRequest)) | {"application/octet-stream": BINARY},
}
NATURAL: Schema = {"type": "integer", "minimum": 0}
OUTPUT = object_schema("ResponseOutput", name=TEXT, datatype=TEXT, shape=list_schema(NATURAL))
OUTPUT["properties"] |= {
    "data": list_schema({"type": ["number", "string", "null"]}),
    "parameters": object_schema("ResponseOutputParameters", binary_data_size=NATURAL),
}
RESPONSE = object_schema(
    "InferenceResponse", model_name=TEXT, model_version=TEXT, outputs=list_schema(OUTPUT)
)
RESPONSE["properties"] |= {"id": TEXT}


class InferenceHeaders(TimeoutHeader):
    """The headers of an inference."""

    inference_header_content_length: int | None = Field(
        None,
        ge=0,
        json_schema_extra=never_null,
        description="how many bytes of the body are JSON, if binary data follows; 0 if the whole "
        "body is the only element of the only input: an image file",
    )


Headers = Annotated[InferenceHeaders, Header()]


class Inference:
    """The routes that infer.

    Args:
        calls: what a request asks for.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def routes(self) -> list[DirectRoute]:
        """Return the routes, with what /openapi.json says of them."""
        described = responses(RESPONSE, *IMAGE_ERRORS)
        described[200]["content"]["application/octet-stream"] = BINARY
        options: dict[str, Any] = {"openapi_extra": {"requestBody": BODY}, "responses": described}
        path = "/v2/models/{model}/versions/{version}/infer"
        return versioned(path, self.infer, methods=["POST"], **options)

    async def infer(self, request: Request, model: str, version: str, headers: Headers) -> Response:
        """Classify images; if one of them cannot be, the request fails, and says which."""
        self._calls.check_open()
        find_by = partial(find, self._calls.requests.repository, model, version)
        named = find_by(request_id(request))
        hold = named.model.hold()  # while the body comes
        _check_type(request)
        body = await self._calls.body(request)
        asked = await self._asked(body, headers.inference_header_content_length, named)
        if asked.id and not version:  # it comes before that of the header
            named = find_by(asked.id)
        check_outputs(asked, named)
        sources = images(asked, named, self._calls.requests.max_images)
        is_large = _is_large(asked, named, len(sources))
        deadline = self._calls.deadline(request, headers, asked.timeout_us)
        record = record_of(request)
        if record:
            record.asked(named.model, len(sources), asked.id, deadline)
        answering = named.model.classify(sources, deadline, len(body), caller_of(request))
        asked.inputs.clear()
        del body, sources  # the images were copied out of it, and may wait long
        answers = await answering
        del hold
        if record:
            record.answered(answers)
        respond = partial(_respond, asked, named, answers)
        return await asyncio.to_thread(respond) if is_large else respond()

    async def _asked(self, body: bytes, json_bytes: int | None, named: Named) -> InferRequest:
        """Return the request that a body holds, of which so many bytes are JSON; None: all."""
        if json_bytes == 0:
            return _of_one_input(body, named)
        size = len(body) if json_bytes is None else json_bytes
        read = partial(parse, body, size, named.name, named.model.version)
        if size <= LARGE_JSON:
            return read()
        return await self._calls.parsing.take(len(body), read)


def _of_one_input(body: bytes, named: Named) -> InferRequest:
    """Return the request whose body is the data of the only input, without any JSON."""
    if not named.takes_pixels:
        tensor = Tensor(named.input_name, "BYTES", (1,), [body])
    else:
        shape = named.pixels_shape
        count, rest = divmod(len(body), math.prod(shape))
        if rest or not count:
            raise InvalidRequestError(
                f"the body has {len(body)} bytes; it must have {math.prod(shape)} for each image "
                f"of {list(shape)} pixels; an image file goes to the name without `_pixels`"
            )
        tensor = Tensor(named.input_name, "UINT8", (count, *shape), body)
    return InferRequest(named.name, named.model.version, inputs=[tensor])


def _respond(asked: InferRequest, named: Named, answers: Sequence[Answer]) -> Response:
    content, json_bytes = build(asked, answer(asked, named, answers))
    if json_bytes is None:
        return JsonResponse(content)
    headers = {"inference-header-content-length": str(json_bytes)}
    return Response(content, headers=headers, media_type="application/octet-stream")


def _check_type(request: Request) -> None:
    """Refuse what is surely no tensor. Other types say nothing: curl states one for forms."""
    kind = request.headers.get("content-type", "")
    if kind.lower().startswith("multipart/"):
        raise HTTPException(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"a form is not read here; send JSON, or an image file as the body with the header "
            f"`{HEADER}: 0`, or the form to /v1/classify",
            {"accept": "application/json, application/octet-stream"},
        )


def _is_large(asked: InferRequest, named: Named, images: int) -> bool:
    """Whether building the response takes so long that it should have a thread of its own."""
    if classes := classes_of(asked, named, images):
        return classes > MANY_CLASSES
    return images * named.classes > MANY_CLASSES * PROBABILITIES_PER_CLASS
