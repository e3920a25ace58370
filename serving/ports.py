"""Both ports, and what their callers meet at both: TLS, tokens, and the record of each call."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from serving.api.classifier import Classifier
from serving.api.oip.service import OpenInference
from serving.api.requests import Requests
from serving.callers import Callers
from serving.config import ServingConfig
from serving.frontend.supervisor import FrontEnds
from serving.grpc_server import GrpcServer
from serving.http.access import Doors
from serving.http.app import create_app
from serving.http.calls import Calls
from serving.http.cors import Cors
from serving.http.server import HttpServer
from serving.http.traffic import HttpBounds


class Ports:
    """A gRPC and an HTTP server; both bind at once.

    Args:
        config: what they are, and who may call.
        requests: what callers may ask for.
        registry: gets the metrics.

    Raises:
        StartupError: a port is taken, or a certificate, a token file or a collector is not right.
    """

    def __init__(
        self, config: ServingConfig, requests: Requests, registry: CollectorRegistry
    ) -> None:
        self._config, self._requests = config, requests
        self._callers = callers = Callers(config, registry)
        services = Classifier(requests), OpenInference(requests)
        self.grpc: GrpcServer | FrontEnds
        if config.frontends:
            self.grpc = FrontEnds(config, callers, *services, requests.repository, registry)
        else:
            self.grpc = callers.grpc(*services, requests.readiness)
        self.http = self._create_http(registry)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen while the context is open, then cut off what is left."""
        async with self._callers.watching(), self.http.listening(), self.grpc.listening():
            yield

    async def drain(self, grace_s: float) -> None:
        """Accept no more calls; return when all are over, or after the grace period."""
        self._requests.readiness.closing.set()
        http = asyncio.ensure_future(self.http.drain(grace_s))
        await asyncio.gather(http, self.grpc.drain(grace_s, http))

    def _create_http(self, registry: CollectorRegistry) -> HttpServer:
        config = self._config
        app = create_app(
            registry,
            Calls(self._requests, config.max_message_bytes),
            config.image_limits,
            page=config.page == "on",
        )
        return HttpServer(
            app,
            config.host,
            config.http_port,
            HttpBounds(
                body_bytes=config.max_message_bytes,
                transfer_bytes=config.max_transfer_bytes,
                patience_s=self._requests.default_timeout_s,
                connections=config.max_http_connections,
                idle_s=config.http_idle_s,
                age_s=config.max_connection_age_s or math.inf,
            ),
            doors=Doors(self._callers.guard, app.routes) if self._callers.guard else None,
            tls=self._callers.tls,
            recorder=self._callers.recorder,
            cors=Cors(config.cors_origins) if config.cors_origins else None,
        )
