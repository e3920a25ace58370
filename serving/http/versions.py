"""Every version of every model, loaded or not, and what the caller may do with it."""

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from serving.access.identity import Identity, Role
from serving.api.requests import Requests
from serving.http.errors import JsonResponse
from serving.http.openapi import BOOLEAN, TEXT, list_schema, object_schema, responses
from serving.http.routes import DirectRoute
from serving.repository.board import Status

STATE = {"title": "VersionState", "type": "string", "enum": [*Status]}
VERSION = object_schema("VersionEntry", name=TEXT, version=TEXT, state=STATE, reason=TEXT)
VERSIONS = object_schema(
    "Versions", versions=list_schema(VERSION), may_load=BOOLEAN, may_label=BOOLEAN
)


class Versions:
    """The route.

    Args:
        requests: the models, and what has become of each version.
    """

    def __init__(self, requests: Requests) -> None:
        self._control = requests.control

    def routes(self) -> list[DirectRoute]:
        """Return the route, with what /openapi.json says of it."""
        return [DirectRoute("/v1/versions", self.versions, responses=responses(VERSIONS))]

    async def versions(self, request: Request) -> Response:
        """The state of every version, and why it is not ready; and what the caller may change.

        `/v1/models` describes those that are loaded. `may_load` is false unless the server has
        --model-control explicit, `may_label` without --repository, both for who is no
        administrator.
        """
        may_change = _may_change(request)
        answer: dict[str, Any] = {
            "versions": [
                {
                    "name": one.name,
                    "version": one.version,
                    "state": one.status,
                    "reason": one.reason,
                }
                for one in self._control.board.all()
            ],
            "may_load": may_change and self._control.takes_calls,
            "may_label": may_change and self._control.rollouts.takes_calls,
        }
        return JsonResponse(orjson.dumps(answer))


def _may_change(request: Request) -> bool:
    """Whether a caller may do what administrators may; everybody may if nobody is asked."""
    identity: Identity | None = request.scope.get("state", {}).get("identity")
    return identity is None or Role.ADMIN in identity.roles
