"""What /openapi.json says: the schemas and answers of the routes, and the document they make."""

from collections.abc import Sequence
from typing import Any

from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from serving.api.oip.catalog import NAME, server_version
from serving.record.ids import HEADER, LONGEST_ID

Schema = dict[str, Any]

DESCRIPTION = """\
Image classification. Every error is JSON with one sentence: what was wrong, and what would be
right.

Clients of Triton may call more paths under `/v2` than are here: for shared memory, and for the
settings of traces and logs. They are answered with 501, and a sentence.
"""
CLASSIFY, PROTOCOL, OPERATIONS = "classify", "open inference protocol", "operations"
TAGS = {
    CLASSIFY: "Image files as they are, and the routes of TorchServe and SageMaker.",
    PROTOCOL: "What clients of Triton and KServe call.",
    OPERATIONS: "The state of the server, for operators and their programs.",
}
REASONS = {
    400: "the request, or its only image, cannot be answered; the sentence says what to send",
    404: "no such model or version is loaded",
    409: "it cannot be done as things are; the sentence says why, and what serves goes on",
    413: "the body is too large (--max-message-bytes)",
    415: "the body has a type or coding that is not read",
    429: "too many images are in flight; Retry-After says when to try again",
    500: "a fault of the server; its log has the details under the id in the sentence",
    503: "the server is loading or draining, or its devices are lost; try another, or again later",
    504: "the deadline has passed, or cannot be met",
}
# What a request of images may end with.
IMAGE_ERRORS = (400, 404, 413, 415, 429, 500, 503, 504)
REFERENCE = "#/components/schemas/"
ID_HEADER = {
    "description": "the id of the request, as in the server's log and traces: the one that it came "
    "with, or a new one",
    "schema": {"type": "string"},
}
ID_PARAMETER = {
    "name": HEADER,
    "in": "header",
    "description": f"names the request in the answer, the log and the traces: at most {LONGEST_ID} "
    f"characters of visible ASCII; any other is ignored",
    "schema": {"type": "string"},
}

BOOLEAN, TEXT = {"type": "boolean"}, {"type": "string"}
# OpenAPI 3.1 would have `contentMediaType`, which generators of clients take for text.
FILE = {"type": "string", "format": "binary"}
BINARY = {"schema": FILE}


def list_schema(item: Schema) -> Schema:
    """Return the JSON Schema of a list."""
    return {"type": "array", "items": item}


def object_schema(title: str, **properties: Schema) -> Schema:
    """Return the JSON Schema of an object that has all of these."""
    return {
        "title": title,
        "type": "object",
        "properties": properties,
        "required": [*properties],
    }


ERROR = object_schema("Error", error=TEXT)


def json_content(schema: Schema) -> Schema:
    """Return what OpenAPI says of a body that is JSON."""
    return {"application/json": {"schema": schema}}


def responses(schema: Schema, *errors: int) -> dict[int | str, Schema]:
    """Return what is said of the answers of a route: its JSON, and its errors."""
    good = {"description": "the answer", "content": json_content(schema)}
    error = json_content(ERROR)
    bad: dict[int | str, Schema] = {
        code: {"description": REASONS[code], "content": error} for code in errors
    }
    # FastAPI would add its own 422 if nothing covered it.
    return {200: good, **bad, "4XX": {"description": "what HTTP itself refuses", "content": error}}


def responses_or_not(schema: Schema, *errors: int) -> dict[int | str, Schema]:
    """Return the same of a route that says whether something is ready: with 503 if it is not."""
    unready = json_content({"anyOf": [schema, ERROR]})
    return responses(schema, *errors) | {503: {"description": "it is not", "content": unready}}


def describe(routes: Sequence[BaseRoute]) -> Schema:
    """Return the document.

    Schemas are whole where routes state them. Each object and enumeration that has a title becomes
    a component of that name, which is a class in the clients that are generated.

    Raises:
        ValueError: two that differ have the same title.
    """
    tags = [{"name": name, "description": text} for name, text in TAGS.items()]
    document = get_openapi(
        title=NAME, version=server_version(), description=DESCRIPTION, routes=routes, tags=tags
    )
    for operation in (each for path in document["paths"].values() for each in path.values()):
        operation["parameters"] = [*operation.get("parameters", []), ID_PARAMETER]
        for response in operation["responses"].values():
            response["headers"] = {HEADER: ID_HEADER}
    schemas: dict[str, Schema] = {}
    described: Schema = _with_references(document, schemas)
    return described | {"components": {"schemas": dict(sorted(schemas.items()))}}


def _with_references(node: Any, schemas: dict[str, Schema]) -> Any:
    """Return a part of the document that refers to its schemas, and move those to `schemas`."""
    if isinstance(node, list):
        return [_with_references(one, schemas) for one in node]
    if not isinstance(node, dict):
        return node
    moved = {key: _with_references(value, schemas) for key, value in node.items()}
    moved.pop("$defs", None)  # of pydantic, which refers to them as components already
    if "title" not in moved or not (moved.get("type") == "object" or "enum" in moved):
        return moved
    title = moved["title"]
    if schemas.setdefault(title, moved) != moved:
        raise ValueError(f"two schemas of /openapi.json have the title {title}")
    return {"$ref": REFERENCE + title}
