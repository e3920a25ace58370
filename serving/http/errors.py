"""The one place that turns errors into answers of HTTP: JSON, with their code and headers."""

import math
from http import HTTPStatus

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from serving.api.status import CODES
from serving.errors import OverloadedError, ServingError, UnavailableError

# When a client may ask a server again that is loading or draining, in seconds.
RETRY_AFTER_S = 1
# What goes with these codes, whatever their reason.
HEADERS: dict[int, dict[str, str]] = {
    HTTPStatus.SERVICE_UNAVAILABLE: {"retry-after": str(RETRY_AFTER_S)},
    HTTPStatus.UNAUTHORIZED: {"www-authenticate": "Bearer"},
}


class JsonResponse(Response):
    """An answer whose body is JSON already."""

    media_type = "application/json"


def error_response(error: ServingError | HTTPException) -> Response:
    """Return `{"error": "…"}` with the code of the error, and when to try again."""
    if isinstance(error, HTTPException):
        headers = HEADERS.get(error.status_code, {}) | dict(error.headers or {})
        return _response(error.status_code, error.detail, headers)
    return _response(CODES[type(error)].http, str(error), _retry_after(error))


def method_response(request: Request, methods: set[str]) -> Response:
    """Return the answer to a method that a path does not have: OPTIONS says which ones it has."""
    allowed = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
    headers = {"allow": ", ".join(sorted(allowed))}
    if request.method == "OPTIONS":
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
    message = f"{request.url.path} does not have {request.method}; it has {headers['allow']}"
    return _response(HTTPStatus.METHOD_NOT_ALLOWED, message, headers)


def _retry_after(error: ServingError) -> dict[str, str]:
    if isinstance(error, OverloadedError):
        return {"retry-after": str(math.ceil(error.retry_after_ms / 1000))}
    if isinstance(error, UnavailableError):
        return {"retry-after": str(RETRY_AFTER_S)}
    return {}


def _response(status: int, message: str, headers: dict[str, str]) -> Response:
    # Names that strangers choose are in messages, lone surrogates too.
    text = message.encode(errors="backslashreplace").decode()
    return JsonResponse(orjson.dumps({"error": text}), status, headers)
