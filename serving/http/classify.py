"""Classification for people: `curl -T cat.jpg …/v1/classify`, and the routes of other servers."""

import asyncio
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

import numpy as np
import orjson
from fastapi import Header, Query
from google.rpc.status_pb2 import Status
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from protos import classifier_pb2 as pb
from serving.api.messages import is_large, to_fields, top_classes
from serving.api.requests import check_only
from serving.engine.job import Answer, Prediction
from serving.engine.model import Model
from serving.engine.sources import Encoded
from serving.errors import InvalidRequestError
from serving.http.calls import Calls, Name, TimeoutHeader, caller_of
from serving.http.errors import JsonResponse
from serving.http.forms import FORM, read_files
from serving.http.messages import message_schema
from serving.http.openapi import (
    BINARY,
    FILE,
    IMAGE_ERRORS,
    Schema,
    list_schema,
    object_schema,
    responses,
)
from serving.http.recording import record_of
from serving.http.routes import DirectRoute, versioned

# How many classes people get who do not say; TorchServe's image classifier has the same number.
TOP_K = 5
UPLOAD = "POST", "PUT"
FORM_SCHEMA = object_schema("ImageForm", images=list_schema(FILE))
BODY = {
    "required": True,
    "description": "an image file as it is (JPEG, PNG, WebP or BMP), under its own content type "
    "too, or a form with one or more",
    # No `image/*` beside them: a generated client could not send a pattern.
    "content": {"application/octet-stream": BINARY, FORM: {"schema": FORM_SCHEMA}},
}
JSON = "application/json"
PROBABILITIES: Schema = {
    "title": "Probabilities",
    "description": "of the most probable labels",
    "type": "object",
    "additionalProperties": {"type": "number"},
}


class ClassifyQuery(BaseModel):
    """What `/v1/classify` is asked; as in `ClassifyRequest` of classifier.proto."""

    model_config = ConfigDict(extra="forbid")

    model: Name = Field("", description="name of the model; empty: the only one")
    version: Name = Field(
        "", description="its version, or a label of it; empty: see ClassifyRequest"
    )
    top_k: int = Field(
        TOP_K, ge=0, lt=2**32, description="how many classes per image; 0: all of them"
    )
    full_probabilities: bool = Field(
        default=False, description="add every class's probability, in label order"
    )


Asked = Annotated[ClassifyQuery, Query()]
Timeout = Annotated[TimeoutHeader, Header()]


class Classification:
    """Routes that take image files.

    Args:
        calls: what a request asks for.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def routes(self) -> list[DirectRoute]:
        """Return the routes, with what /openapi.json says of them."""
        described: dict[str, Any] = {
            "openapi_extra": {"requestBody": BODY},
            "responses": responses(message_schema(pb.ClassifyResponse.DESCRIPTOR), *IMAGE_ERRORS),
        }
        predicted = described | {"responses": responses(PROBABILITIES, *IMAGE_ERRORS)}
        # An operation of OpenAPI has one method.
        classify = [
            DirectRoute("/v1/classify", self.classify, methods=[how], **described) for how in UPLOAD
        ]
        predict = [
            route
            for how in UPLOAD
            for route in versioned(
                "/predictions/{model}/{version}", self.predict, methods=[how], **predicted
            )
        ]
        return [
            *classify,
            *predict,
            DirectRoute(
                "/invocations", self.classify, methods=["POST"], name="invoke", **described
            ),
        ]

    async def classify(self, request: Request, query: Asked, headers: Timeout) -> Response:
        """Classify images; the answer is a ClassifyResponse of classifier.proto as JSON.

        One image that cannot be classified is an error; of several, each has its own `status`.
        """
        options = pb.ClassifyRequest(top_k=query.top_k, full_probabilities=query.full_probabilities)
        model, answers = await self._answers(request, query.model, query.version, headers)
        build = partial(_to_json, options, model, answers)
        slow = is_large(options, len(answers), model)
        return JsonResponse(await asyncio.to_thread(build) if slow else build())

    async def predict(
        self, request: Request, model: str, version: str, headers: Timeout
    ) -> Response:
        """Classify one image as TorchServe does: the five most probable labels."""
        found, answers = await self._answers(request, model, version, headers, most=1)
        [answer] = answers
        assert isinstance(answer, Prediction)
        classes = top_classes(answer.probabilities, TOP_K, found.bundle.manifest.labels)
        return JsonResponse(_dumped({c["label"]: np.float32(c["probability"]) for c in classes}))

    async def _answers(
        self, request: Request, name: str, version: str, headers: TimeoutHeader, most: int = 0
    ) -> tuple[Model, Sequence[Answer]]:
        """Return the model and its answers; raise the error of an only image."""
        model = self._calls.model(name, version, request)
        hold = model.hold()  # while the body comes
        files = await self._files(request, most or self._calls.requests.max_images)
        deadline, nbytes = self._calls.deadline(request, headers), sum(map(len, files))
        sources = [Encoded(file) for file in files]
        record = record_of(request)
        if record:
            record.asked(model, len(files), "", deadline)
        answering = model.classify(sources, deadline, nbytes, caller_of(request))
        del files, sources  # the jobs have them, and let go of each once it is decoded
        answers = await answering
        del hold
        if record:
            record.answered(answers)
        check_only(answers)
        return model, answers

    async def _files(self, request: Request, most: int) -> list[bytes]:
        """Return the images of a request."""
        content_type = request.headers.get("content-type", "")
        kind = content_type.partition(";")[0].strip().lower()
        if kind.startswith("multipart/") and kind != FORM:
            raise HTTPException(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                f"{kind} is not read; send {FORM}, or an image file as it is",
                {"accept": f"{FORM}, image/*"},
            )
        if kind == JSON:
            raise HTTPException(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "JSON is not read here; send an image file as it is (curl -T cat.jpg …), or JSON "
                "with the file in base64 to /v2/models/{model}/infer",
                {"accept": f"{FORM}, image/*"},
            )
        body = await self._calls.body(request)
        files = [body]
        if kind == FORM:
            files = await read_files(body, content_type, most, self._calls.dividing)
        if not files or files == [b""]:
            raise InvalidRequestError(
                "the request holds no image; send a file as it is (curl -T cat.jpg …), or a form "
                "with files (curl -F images=@cat.jpg …)"
            )
        return files


def _to_json(options: pb.ClassifyRequest, model: Model, answers: Sequence[Answer]) -> bytes:
    """Return the JSON mapping of a response, by the names of classifier.proto."""
    fields = to_fields(options, model, [*answers])
    for result in fields["results"]:
        for found in result.get("classes", ()):
            found["probability"] = np.float32(found["probability"])  # 0.9, not 0.8999999761581421
        if "probabilities" in result:
            result["probabilities"] = np.asarray(result["probabilities"], np.float32)
        if "timing" in result:
            timing = result["timing"]
            result["timing"] = {name: round(value, 3) for name, value in timing.items()}
    return _dumped(fields)


def _dumped(value: object) -> bytes:
    return orjson.dumps(value, _status, orjson.OPT_SERIALIZE_NUMPY)


def _status(value: object) -> dict[str, Any]:
    """Return a status of google.rpc as JSON; orjson asks for what it does not know."""
    if isinstance(value, Status):
        return {"code": value.code, "message": value.message}
    raise TypeError(f"{type(value)} has no place in an answer")
