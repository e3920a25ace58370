"""The proof of a model: the golden images of its bundle, and how close its files came."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import orjson
from starlette.requests import Request
from starlette.responses import Response

from bundle.golden import sealed_golden
from bundle.manifest import ModelFile
from bundle.store import Bundle, BundleError
from images.header import sniff
from serving.backends.runtimes import FORMATS
from serving.backends.settings import Runtime
from serving.engine.model import Model
from serving.errors import ModelNotFoundError, RepositoryError
from serving.http.calls import Calls
from serving.http.errors import JsonResponse
from serving.http.messages import NUMBER
from serving.http.openapi import BINARY, TEXT, Schema, list_schema, object_schema, responses
from serving.http.routes import DirectRoute

# As the export writes it; a bundle need not have it.
PARITY = "parity.json"
PATH = "/v1/models/{model}/versions/{version}"
ERRORS = (400, 404, 409, 503)
PROBABILITIES = list_schema(NUMBER)
IMAGE = object_schema("ProofImage", path=TEXT, probabilities=PROBABILITIES)
OWN = object_schema("ProofOwn", tolerance=NUMBER, probabilities=list_schema(PROBABILITIES))
PARITY_SCHEMA: Schema = {"title": "Parity", "type": "object"}
PROOF = object_schema(
    "Proof",
    file=TEXT,
    tolerance=NUMBER,
    images=list_schema(IMAGE),
    own={"anyOf": [OWN, {"type": "null"}]},
    parity={"anyOf": [PARITY_SCHEMA, {"type": "null"}]},
)


class Proofs:
    """The routes; whoever wants to compare sends the images to `/v1/classify`.

    Args:
        calls: the models.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def routes(self) -> list[DirectRoute]:
        """Return the routes, with what /openapi.json says of them."""
        file: dict[str, Any] = {"description": "the file", "content": {"image/*": BINARY}}
        return [
            DirectRoute(f"{PATH}/proof", self.proof, responses=responses(PROOF, *ERRORS)),
            DirectRoute(
                f"{PATH}/golden/{{image}}",
                self.golden_image,
                responses=responses({}, *ERRORS) | {200: file},
            ),
        ]

    async def proof(self, request: Request, model: str, version: str) -> Response:
        """What a loaded model must answer to its golden images, and its `parity.json`.

        `probabilities` are those of the evaluated checkpoint, in label order; an answer of the file
        that runs may differ by `tolerance`. `own` is what that file itself gave where it was
        exported, in the runtime that it runs in, if that was recorded: an answer may differ from
        it by its own tolerance.
        """
        found = self._calls.model(model, version, request)
        return JsonResponse(await asyncio.to_thread(_proof, found))

    async def golden_image(
        self, request: Request, model: str, version: str, image: str
    ) -> Response:
        """A golden image of a loaded model, as the file that it is: `0` is the first."""
        found = self._calls.model(model, version, request)
        content = await asyncio.to_thread(_golden_image, found, image)
        header = sniff(content)
        kind = f"image/{header.format.lower()}" if header else "application/octet-stream"
        headers = {"x-content-type-options": "nosniff"}
        return Response(content, media_type=kind, headers=headers)


def _proof(model: Model) -> bytes:
    bundle, runs = model.bundle, _file(model)
    with _readable():
        golden = sealed_golden(bundle)
        parity = _parity(bundle)
    own = golden.answers(runs, model.placement.runtime)
    return orjson.dumps(
        {
            "file": runs.title,
            "tolerance": runs.tolerance,
            "images": [
                {"path": image.path, "probabilities": image.probabilities}
                for image in golden.images
            ],
            "own": own and {"tolerance": own.tolerance, "probabilities": own.probabilities},
            "parity": parity,
        }
    )


def _golden_image(model: Model, number: str) -> bytes:
    with _readable():
        images = sealed_golden(model.bundle).images
        # Not int(number): it takes signs, spaces, and digits of other scripts.
        names = {str(place): image.path for place, image in enumerate(images)}
        if number not in names:
            raise ModelNotFoundError(
                f"there is no golden image {number!r} of {model.name}/{model.version}; there are "
                f"0 to {len(images) - 1}",
            )
        return model.bundle.read(names[number])


def _file(model: Model) -> ModelFile:
    """Return the file that a model runs."""
    runtime, _, precision = model.placement
    return model.bundle.file(FORMATS[cast("Runtime", runtime)], precision)


def _parity(bundle: Bundle) -> object:
    """Return what the export measured; None if the bundle does not say."""
    if PARITY not in bundle.manifest.attachments:
        return None
    try:
        return orjson.loads(bundle.read(PARITY))
    except orjson.JSONDecodeError as error:
        raise BundleError(f"{bundle.path / PARITY} is not JSON: {error}") from error


@contextmanager
def _readable() -> Iterator[None]:
    """Say of a bundle that was changed or removed since it was loaded what is wrong with it."""
    try:
        yield
    except BundleError as error:
        raise RepositoryError(f"{error}; what is loaded still answers") from error
    except OSError as error:
        raise RepositoryError(
            f"{error.filename} cannot be read: {error.strerror}; what is loaded still answers"
        ) from error
