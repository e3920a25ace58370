"""What the Open Inference Protocol tells of a server and its models, and what this one lacks."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import orjson
from google.protobuf.message import Message
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from protos import open_inference_pb2 as pb
from serving.api.oip.catalog import LOG, MEMORY, TRACES, Catalog
from serving.api.oip.loading import version_to_load, version_to_unload
from serving.api.oip.names import both, find
from serving.api.oip.statistics import statistics
from serving.http.calls import Calls
from serving.http.errors import RETRY_AFTER_S, JsonResponse
from serving.http.messages import message_schema, to_json
from serving.http.openapi import (
    BOOLEAN,
    TEXT,
    json_content,
    list_schema,
    object_schema,
    responses,
    responses_or_not,
)
from serving.http.routes import DirectRoute, Endpoint, versioned
from serving.http.schemas import ChangeRequest, IndexRequest, read_json, schema_of

Described = dict[int | str, dict[str, Any]]

LIVE = object_schema("ServerLive", live=BOOLEAN)
READY = object_schema("ServerReady", ready=BOOLEAN)
MODEL_READY = object_schema("ModelReady", name=TEXT, ready=BOOLEAN)
SERVER, MODEL = pb.ServerMetadataResponse, pb.ModelMetadataResponse
STATISTICS = pb.ModelStatisticsResponse
NAMES = object_schema("ModelNames", models=list_schema(TEXT))
INDEX = list_schema(message_schema(pb.RepositoryIndexResponse.ModelIndex.DESCRIPTOR))
INDEX_BODY = {"content": json_content(schema_of(IndexRequest))}
MODEL_ERRORS = (400, 404, 503)
REPOSITORY = "/v2/repository/models/{model}"
CHANGE_BODY = {"content": json_content(schema_of(ChangeRequest))}
CHANGE_ERRORS = (400, 404, 409, 413, 415, 503)
EMPTY = object_schema("Done")

# What clients of other servers may ask for.
LACKING = {
    "/v2/trace/setting": (TRACES, ["GET", "POST"]),
    "/v2/models/{model}/trace/setting": (TRACES, ["GET", "POST"]),
    "/v2/logging": (LOG, ["GET", "POST"]),
    "/v2/{kind}sharedmemory/status": (MEMORY, ["GET"]),
    "/v2/{kind}sharedmemory/unregister": (MEMORY, ["POST"]),
    "/v2/{kind}sharedmemory/region/{region}/status": (MEMORY, ["GET"]),
    "/v2/{kind}sharedmemory/region/{region}/register": (MEMORY, ["POST"]),
    "/v2/{kind}sharedmemory/region/{region}/unregister": (MEMORY, ["POST"]),
}


class OpenCatalog:
    """The routes that tell.

    Args:
        calls: the models, and the server's state.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls, self._repository = calls, calls.requests.repository
        self._catalog = Catalog(calls.requests)

    def routes(self) -> list[BaseRoute]:
        """Return the routes, with what /openapi.json says of them: nothing of what is lacking."""
        posted: dict[str, Any] = {"openapi_extra": {"requestBody": INDEX_BODY}}
        posted |= {"responses": responses(INDEX, 400, 413, 415), "methods": ["POST"]}
        changing: dict[str, Any] = {"openapi_extra": {"requestBody": CHANGE_BODY}}
        changing |= {"responses": responses(EMPTY, *CHANGE_ERRORS), "methods": ["POST"]}
        return [
            DirectRoute("/v2/health/live", self.server_live, responses=responses(LIVE)),
            DirectRoute("/v2/health/ready", self.server_ready, responses=responses_or_not(READY)),
            DirectRoute("/v2", self.server_metadata, responses=_described(SERVER)),
            DirectRoute("/v2/models", self.model_names, responses=responses(NAMES)),
            DirectRoute("/v2/models/stats", self.all_statistics, responses=_described(STATISTICS)),
            *_of_model("", self.model_metadata, _described(MODEL, *MODEL_ERRORS)),
            *_of_model("/ready", self.model_ready, responses_or_not(MODEL_READY, 400, 404)),
            *_of_model("/config", self.model_config, _described(pb.ModelConfig, *MODEL_ERRORS)),
            *_of_model("/stats", self.model_statistics, _described(STATISTICS, *MODEL_ERRORS)),
            DirectRoute("/v2/repository/index", self.whole_index, responses=responses(INDEX)),
            DirectRoute("/v2/repository/index", self.repository_index, **posted),
            DirectRoute(f"{REPOSITORY}/load", self.load, **changing),
            DirectRoute(f"{REPOSITORY}/unload", self.unload, **changing),
            *(Route(path, _refusing(why), methods=how) for path, (why, how) in LACKING.items()),
        ]

    async def server_live(self, _: Request) -> Response:
        """Whether the process lives."""
        return JsonResponse(b'{"live":true}')

    async def server_ready(self, _: Request) -> Response:
        """Whether a model answers."""
        return _state_response({"ready": self._catalog.ready})

    async def server_metadata(self, _: Request) -> Response:
        """The server, and the extensions of the protocol that it has."""
        return _message_response(self._catalog.server())

    async def model_names(self, _: Request) -> Response:
        """The names of all models, of which each has one for files and one for pixels."""
        named = (one for model in self._repository.all() for one in both(self._repository, model))
        return JsonResponse(orjson.dumps({"models": sorted({one.name for one in named})}))

    async def all_statistics(self, _: Request) -> Response:
        """What all models have done."""
        return _message_response(statistics(self._repository, "", ""))

    async def whole_index(self, _: Request) -> Response:
        """The versions of all models, under each of their names."""
        return self._index(IndexRequest())

    async def repository_index(self, request: Request) -> Response:
        """The versions of all models, or of those that answer; no body is as good as `{}`."""
        body = await self._calls.body(request)
        return self._index(read_json(body, IndexRequest) if body else IndexRequest())

    async def load(self, request: Request, model: str) -> Response:
        """Load the versions of a model that the policy asks for, or one; wait until it answers."""
        parameters = await self._parameters(request)
        await self._calls.requests.control.load(model, version_to_load(parameters))
        return JsonResponse(b"{}")

    async def unload(self, request: Request, model: str) -> Response:
        """Unload all versions of a model, or one; wait until it has answered what it had."""
        parameters = await self._parameters(request)
        await self._calls.requests.control.unload(model, version_to_unload(parameters))
        return JsonResponse(b"{}")

    async def _parameters(self, request: Request) -> dict[str, Any]:
        self._calls.requests.readiness.check()
        body = await self._calls.body(request)
        asked = read_json(body, ChangeRequest) if body else ChangeRequest()
        return asked.parameters or {}

    def _index(self, asked: IndexRequest) -> Response:
        index = self._catalog.index(only_ready=asked.ready)
        return JsonResponse(orjson.dumps([to_json(model) for model in index.models]))

    async def model_metadata(self, _: Request, model: str, version: str) -> Response:
        """The tensors that a model takes and returns."""
        return _message_response(self._catalog.metadata(model, version))

    async def model_ready(self, _: Request, model: str, version: str) -> Response:
        """Whether a model answers."""
        named = find(self._repository, model, version)
        return _state_response(
            {"name": named.name, "ready": self._catalog.model_ready(model, version)}
        )

    async def model_config(self, _: Request, model: str, version: str) -> Response:
        """How a model is served."""
        return _message_response(self._catalog.config(model, version))

    async def model_statistics(self, _: Request, model: str, version: str) -> Response:
        """What a model has done."""
        return _message_response(statistics(self._repository, model, version))


def _of_model(path: str, endpoint: Endpoint, described: Described) -> list[DirectRoute]:
    path = f"/v2/models/{{model}}/versions/{{version}}{path}"
    return versioned(path, endpoint, responses=described)


def _refusing(why: str) -> Callable[[Request], Awaitable[Response]]:
    async def refuse(_: Request) -> Response:
        raise HTTPException(HTTPStatus.NOT_IMPLEMENTED, why)

    return refuse


def _message_response(message: Message) -> Response:
    return JsonResponse(orjson.dumps(to_json(message)))


def _state_response(state: dict[str, Any]) -> Response:
    """Return whether something is ready: with 503 if it is not."""
    if state["ready"]:
        return JsonResponse(orjson.dumps(state))
    headers = {"retry-after": str(RETRY_AFTER_S)}
    return JsonResponse(orjson.dumps(state), HTTPStatus.SERVICE_UNAVAILABLE, headers)


def _described(message: type[Message], *errors: int) -> Described:
    """Return what /openapi.json says of a route that tells a message."""
    return responses(message_schema(message.DESCRIPTOR), *errors)
