"""An application of the HTTP port without a model, and a server with one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import Mock

import httpx
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from images.limits import ImageLimits
from serving.api.requests import Requests
from serving.engine.repository import ModelRepository
from serving.http.app import Application, create_app
from serving.http.calls import Calls
from serving.lifecycle import Readiness
from serving.metrics import Metrics
from serving.server import Server
from tests.support.serving import running_server


@asynccontextmanager
async def http_to(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server."""
    url = f"http://127.0.0.1:{server.http.port}"
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tiny: Path) -> AsyncIterator[Server]:
    """A server of the small bundle, for all tests of a file."""
    async with running_server(tiny) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it."""
    async with http_to(server) as calls:
        yield calls


@pytest.fixture
def app() -> Application:
    """An application without a model."""
    metrics = Metrics(CollectorRegistry())
    requests = Requests(ModelRepository(), Readiness(metrics.ready), 8, 30.0, Mock())
    return create_app(metrics.registry, Calls(requests, 2**20), ImageLimits(), page=True)
