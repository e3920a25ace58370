"""The loaded models as `ListModels` of classifier.proto tells them."""

import orjson
from starlette.requests import Request
from starlette.responses import Response

from protos import classifier_pb2 as pb
from serving.api.requests import Requests
from serving.http.errors import JsonResponse
from serving.http.messages import message_schema, to_json
from serving.http.openapi import responses
from serving.http.routes import DirectRoute


class Models:
    """The route.

    Args:
        requests: the models, and the server's state.
    """

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def routes(self) -> list[DirectRoute]:
        """Return the route, with what /openapi.json says of it."""
        schema = message_schema(pb.ListModelsResponse.DESCRIPTOR)
        return [DirectRoute("/v1/models", self.models, responses=responses(schema))]

    async def models(self, _: Request) -> Response:
        """Describe all loaded models; the answer is a ListModelsResponse of classifier.proto."""
        models = map(self._requests.describe, self._requests.repository.all())
        return JsonResponse(orjson.dumps(to_json(pb.ListModelsResponse(models=models))))
