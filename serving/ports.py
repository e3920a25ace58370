"""Both ports, and what their callers meet at both: TLS, tokens, and the record of each call."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from serving.access.guard import Guard
from serving.access.tls import ServerTls
from serving.access.token_file import TokenFile
from serving.api.classify import Classifier
from serving.api.oip.catalog import server_version
from serving.api.oip.service import OpenInference
from serving.api.requests import Requests
from serving.config import ServingConfig
from serving.grpc_server import GrpcServer
from serving.http.access import Doors
from serving.http.app import create_app
from serving.http.calls import Calls
from serving.http.cors import Cors
from serving.http.server import HttpServer
from serving.http.traffic import HttpBounds
from serving.lifecycle import background
from serving.record.recorder import Recorder
from serving.rpc.bounds import Bounds

# Requests of all methods but those that take images hold a few names.
OTHER_REQUEST_BYTES = 4096


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
        self._recorder = Recorder.create(config, server_version(), registry)
        self._tls = ServerTls(config.tls_files, registry) if config.tls_files else None
        self._guard = None
        if config.token_file:
            self._guard = Guard(TokenFile(config.token_file, registry), registry)
        self.grpc = self._create_grpc()
        self.http = self._create_http(registry)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen while the context is open, then cut off what is left."""
        try:
            async with self.http.listening(), self.grpc.listening(), self._watching():
                yield
        finally:
            if self._recorder:
                await asyncio.to_thread(self._recorder.close)

    async def drain(self, grace_s: float) -> None:
        """Accept no more calls; return when all are over, or after the grace period."""
        await asyncio.gather(self.grpc.drain(grace_s), self.http.drain(grace_s))

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[None]:
        """Look after certificates and tokens, if there are any, while the context is open."""
        watches = [self._tls.watch()] if self._tls else []
        watches += [self._guard.file.watch()] if self._guard else []
        tasks = [background(watch) for watch in watches]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()

    def _create_grpc(self) -> GrpcServer:
        config = self._config
        return GrpcServer(
            Classifier(self._requests),
            OpenInference(self._requests),
            self._requests.readiness,
            host=config.host,
            port=config.grpc_port,
            bounds=Bounds(
                message_bytes=config.max_message_bytes,
                request_bytes=OTHER_REQUEST_BYTES,
                patience_s=self._requests.default_timeout_s,
                transfer_bytes=config.max_transfer_bytes,
                streams=config.max_streams,
                connections=config.max_connections,
                age_s=config.max_connection_age_s or math.inf,
            ),
            guard=self._guard,
            credentials=self._tls.grpc_credentials() if self._tls else None,
            recorder=self._recorder,
        )

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
            doors=Doors(self._guard, app.routes) if self._guard else None,
            tls=self._tls,
            recorder=self._recorder,
            cors=Cors(config.cors_origins) if config.cors_origins else None,
        )
