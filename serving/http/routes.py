"""Routes that FastAPI describes and Starlette serves."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, get_args, get_origin

from fastapi import params
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.errors import InvalidRequestError

Endpoint = Callable[..., Awaitable[Response]]


class DirectRoute(APIRoute):
    """A route that FastAPI describes, and that is called without FastAPI.

    The endpoint is `async def (request, …) -> Response`. Its other parameters are names of the
    path, or pydantic models of all that the query or the headers may hold:
    `query: Annotated[Model, Query()]`. FastAPI reads the same signature for /openapi.json, in which
    the operation has the endpoint's name. Its own way of calling an endpoint takes 60 µs, this 5.
    """

    def __init__(
        self,
        path: str,
        endpoint: Endpoint,
        *,
        methods: Sequence[str] = ("GET",),
        name: str = "",
        **options: Any,
    ) -> None:
        name = name or endpoint.__name__
        # A path that has PUT does the same with POST, which gets the plain name.
        options |= {"name": name, "operation_id": f"{name}_put" if "PUT" in methods else name}
        # The class: FastAPI's default claims JSON of any form for each answer.
        options |= {"response_model": None, "response_class": Response}
        super().__init__(path, endpoint, methods=[*methods], **options)
        models = _models(endpoint)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive, send)
            arguments = {name: model(request) for name, model in models}
            response = await endpoint(request, **scope["path_params"], **arguments)
            await response(scope, receive, send)

        self.app = app


def versioned(path: str, endpoint: Endpoint, **options: Any) -> list[DirectRoute]:
    """Return the routes of a model's newest version, and of one that the path names.

    Args:
        path: that of a version.
        endpoint: gets an empty version for the newest.
        options: of both.
    """
    signature = inspect.signature(endpoint, eval_str=True)
    others = [each for each in signature.parameters.values() if each.name != "version"]

    async def newest(request: Request, **arguments: Any) -> Response:
        return await endpoint(request, version="", **arguments)

    newest.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
    options |= {"description": endpoint.__doc__}
    name = endpoint.__name__
    unversioned = path.replace("/versions/{version}", "").replace("/{version}", "")
    return [
        DirectRoute(unversioned, newest, name=name, **options),
        DirectRoute(path, endpoint, name=f"{name}_version", **options),
    ]


def _models(endpoint: Endpoint) -> list[tuple[str, Callable[[Request], BaseModel]]]:
    """Return how each pydantic model among the parameters of an endpoint is read."""
    signature = inspect.signature(endpoint, eval_str=True)
    annotated = [p for p in signature.parameters.values() if get_origin(p.annotation) is Annotated]
    found = []
    for parameter in annotated:
        model, source = get_args(parameter.annotation)
        reader = _query(model) if isinstance(source, params.Query) else _headers(model)
        found.append((parameter.name, reader))
    return found


def _query(model: type[BaseModel]) -> Callable[[Request], BaseModel]:
    nothing = model()

    def read(request: Request) -> BaseModel:
        if not request.scope["query_string"]:
            return nothing
        return _validated(model, request.query_params.multi_items())

    return read


def _headers(model: type[BaseModel]) -> Callable[[Request], BaseModel]:
    nothing = model()
    names = {_as_header(name).encode(): name for name in model.model_fields}

    def read(request: Request) -> BaseModel:
        headers: list[tuple[bytes, bytes]] = request.scope["headers"]
        stated = [(names[k], v.decode("latin-1")) for k, v in headers if k in names]
        return _validated(model, stated, _as_header) if stated else nothing

    return read


def _as_header(field: str) -> str:
    return field.replace("_", "-")


def _validated(
    model: type[BaseModel], stated: list[tuple[str, str]], spelt: Callable[[str], str] = str
) -> BaseModel:
    values = dict(stated)
    if len(values) < len(stated):  # who looked at it before may have gone by the other one
        given = [name for name, _ in stated]
        twice = next(name for name in given if given.count(name) > 1)
        raise InvalidRequestError(f"`{spelt(twice)}` is stated more than once")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        names = ", ".join(map(spelt, model.model_fields))
        wrong = [_fault(spelt(str(fault["loc"][0])), fault, names) for fault in error.errors()]
        raise InvalidRequestError("; ".join(wrong)) from None


def _fault(name: str, fault: ErrorDetails, names: str) -> str:
    """Return in a user's words what pydantic says of a parameter, of those with these names."""
    if fault["type"] == "extra_forbidden":
        return f"there is no parameter `{name}`; there are {names}"
    must = fault["msg"].partition(", unable")[0].replace("Input should be", "must be")
    return f"`{name}` {must.replace('String should', 'must')}, not {str(fault['input'])[:64]!r}"
