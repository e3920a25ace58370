"""An application of the HTTP port, and connections to it, byte by byte."""

import pytest
from prometheus_client import CollectorRegistry

from serving.api.requests import Requests
from serving.engine.repository import ModelRepository
from serving.http.app import Application, create_app
from serving.http.calls import Calls
from serving.lifecycle import Readiness
from serving.metrics import Metrics


@pytest.fixture
def app() -> Application:
    """An application without a model."""
    metrics = Metrics(CollectorRegistry())
    requests = Requests(
        ModelRepository(), Readiness(metrics.ready), max_images=8, default_timeout_s=30.0
    )
    return create_app(metrics.registry, Calls(requests, 2**20))
