"""The ASGI application of the HTTP port: its routes, their errors, and what describes them."""

import asyncio
from collections.abc import Sequence
from functools import cache
from http import HTTPStatus

import orjson
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route, Router
from starlette.types import Receive, Scope, Send

from images.limits import ImageLimits
from serving.errors import InternalError, ServingError
from serving.http.calls import Calls
from serving.http.catalog import OpenCatalog
from serving.http.classify import Classification
from serving.http.errors import JsonResponse, error_response, method_response
from serving.http.inference import Inference
from serving.http.labels import Labels
from serving.http.models import Models
from serving.http.openapi import CLASSIFY, OPERATIONS, PROTOCOL, describe
from serving.http.operations import Operations
from serving.http.page import Page
from serving.http.pixels import NetworkPixels
from serving.http.proofs import Proofs
from serving.http.recording import note_error, request_id
from serving.http.routes import DirectRoute
from serving.http.versions import Versions
from serving.http.watch.routes import Watch


def create_app(
    registry: CollectorRegistry, calls: Calls, image_limits: ImageLimits, *, page: bool
) -> "Application":
    """Return the application: classification, what operators look at, the page, /openapi.json."""
    # The first that fits is called: those that are called most stand first.
    return Application(
        [
            *_tagged(CLASSIFY, Classification(calls).routes()),
            *_tagged(PROTOCOL, Inference(calls).routes()),
            *_tagged(CLASSIFY, NetworkPixels(calls, image_limits).routes()),
            *_tagged(CLASSIFY, Models(calls.requests).routes()),
            *_tagged(OPERATIONS, Operations(registry, calls.requests).routes()),
            *_tagged(PROTOCOL, OpenCatalog(calls).routes()),
            *_tagged(OPERATIONS, Labels(calls).routes()),
            *_tagged(OPERATIONS, Versions(calls.requests).routes()),
            *_tagged(OPERATIONS, Proofs(calls).routes()),
            *_tagged(OPERATIONS, Watch(calls, registry).routes()),
            *(Page().routes() if page else ()),
        ]
    )


class Application:
    """Calls the route of a request, and turns what it raises into an answer.

    There is no page at /docs: those that FastAPI has load scripts from other hosts.

    Args:
        routes: what is answered.
    """

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        @cache
        def described() -> bytes:
            return orjson.dumps(describe(routes))

        async def openapi(_: Request) -> Response:
            return JsonResponse(described())

        self._router = Router([*routes, Route("/openapi.json", openapi)], redirect_slashes=False)

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """What is answered, in the order in which it is looked for."""
        return self._router.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        # With an `app`, Starlette's routes raise 404 and 405 instead of answering with plain text:
        # every error becomes JSON here.
        inner = {**scope, "app": self}
        if scope["method"] == "HEAD":  # as GET; the connection leaves the body out
            inner |= {"method": "GET", "is_head": True}
        try:
            await self._router(inner, receive, send)
        except asyncio.CancelledError:
            return  # the client has left, or the server ends
        except HTTPException as error:
            await self._refusal(scope, error)(scope, receive, send)
        except ServingError as error:
            await self._failure(scope, error)(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - logged, and answered
            internal = InternalError.logged(error, request_id(Request(scope)))
            await self._failure(scope, internal)(scope, receive, send)

    def _failure(self, scope: Scope, error: ServingError | HTTPException) -> Response:
        note_error(scope, error)
        return error_response(error)

    def _refusal(self, scope: Scope, error: HTTPException) -> Response:
        request = Request(scope)
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            return method_response(request, self._methods(scope))
        if error.status_code == HTTPStatus.NOT_FOUND:
            error.detail = f"there is no {request.url.path}; /openapi.json lists what there is"
        return self._failure(scope, error)

    def _methods(self, scope: Scope) -> set[str]:
        """Return the methods that the path of a request has."""
        fitting = (r for r in self._router.routes if r.matches(scope)[0] is not Match.NONE)
        return {method for route in fitting for method in getattr(route, "methods", ())}


def _tagged(tag: str, routes: Sequence[BaseRoute]) -> Sequence[BaseRoute]:
    for route in routes:
        if isinstance(route, DirectRoute):
            route.tags = [tag]
    return routes
