"""Labels of versions over HTTP, beside the calls of the protocol that load and unload models."""

from typing import Any

import orjson
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from protos import classifier_pb2 as pb
from serving.api.fields import check_name
from serving.api.messages import to_labels
from serving.engine.repository import Shelf
from serving.http.calls import Calls
from serving.http.errors import JsonResponse
from serving.http.messages import message_schema, to_json
from serving.http.openapi import json_content, responses
from serving.http.routes import DirectRoute
from serving.http.schemas import Json, Name, read_json, schema_of

PATH = "/v2/repository/models/{model}/labels/{label}"


class LabelRequest(Json):
    """What a label should stand for."""

    version: Name = Field(description="a loaded version, or another label of it")
    share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="for `canary`: share of the requests without a version; at 0 it is only a name",
    )


class Labels:
    """The routes that change labels; they are told by `/v2/repository/index`.

    Args:
        calls: the models, and their labels.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls, self._readiness = calls, calls.requests.readiness
        self._rollouts = calls.requests.control.rollouts

    def routes(self) -> list[DirectRoute]:
        """Return the routes, with what /openapi.json says of them."""
        schema = message_schema(pb.SetLabelResponse.DESCRIPTOR)
        described: dict[str, Any] = {"responses": responses(schema, 400, 404, 409, 413, 415, 503)}
        body = {"required": True, "content": json_content(schema_of(LabelRequest))}
        posted = described | {"openapi_extra": {"requestBody": body}}
        return [
            DirectRoute(PATH, self.set_label, methods=["POST"], **posted),
            DirectRoute(PATH, self.remove_label, methods=["DELETE"], **described),
        ]

    async def set_label(self, request: Request, model: str, label: str) -> Response:
        """Point a label at a version, from one request to the next."""
        check_name("model", len(model.encode()))
        asked = read_json(await self._calls.body(request), LabelRequest)
        self._readiness.check()
        return _told(await self._rollouts.set(model, label, asked.version, asked.share))

    async def remove_label(self, _: Request, model: str, label: str) -> Response:
        """Remove a label."""
        check_name("model", len(model.encode()))
        self._readiness.check()
        return _told(await self._rollouts.remove(model, label))


def _told(shelf: Shelf) -> Response:
    return JsonResponse(orjson.dumps(to_json(pb.SetLabelResponse(labels=to_labels(shelf)))))
