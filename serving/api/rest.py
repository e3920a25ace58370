"""Health and metrics over HTTP."""

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.api.status import CODES
from serving.engine.repository import ModelRepository
from serving.errors import ServingError
from serving.readiness import Readiness


def create_app(
    registry: CollectorRegistry, readiness: Readiness, repository: ModelRepository
) -> Starlette:
    """Return the application: /metrics, /healthz (the process lives), /readyz (a model answers)."""

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def healthz(_: Request) -> Response:
        return JSONResponse({"alive": True})

    async def readyz(_: Request) -> Response:
        readiness.check()
        models = repository.ready()
        ready = any(models.values())
        return JSONResponse({"ready": ready, "models": models}, 200 if ready else 503)

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
        ],
        exception_handlers={ServingError: _to_response},
    )


async def _to_response(_: Request, error: Exception) -> Response:
    assert isinstance(error, ServingError)
    return JSONResponse({"error": str(error)}, CODES[type(error)].http)
