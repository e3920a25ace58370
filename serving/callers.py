"""What callers meet at a port, whichever process has it: TLS, tokens, the record of calls."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from serving.access.guard import Guard
from serving.access.tls import ServerTls
from serving.access.token_file import TokenFile
from serving.api.classify import ImageClassifier
from serving.api.oip.catalog import server_version
from serving.api.oip.infer import ImageInference
from serving.config import ServingConfig
from serving.grpc_server import Forward, GrpcServer
from serving.lifecycle import Readiness, background
from serving.record.recorder import Recorder
from serving.rpc.bounds import Bounds

# Requests of all methods but those that take images hold a few names.
OTHER_REQUEST_BYTES = 4096


class Callers:
    """Who may call, and what is noted of them.

    Args:
        config: says it.
        registry: gets the metrics.

    Attributes:
        recorder: begins the records of calls; None if nobody wants any.
        tls: None without.
        guard: asks who calls; None: nobody does.

    Raises:
        StartupError: a certificate, a token file or a collector is not right.
    """

    def __init__(self, config: ServingConfig, registry: CollectorRegistry) -> None:
        self._config = config
        self.recorder = Recorder.create(config, server_version(), registry)
        self.tls = ServerTls(config.tls_files, registry) if config.tls_files else None
        self.guard = None
        if config.token_file:
            self.guard = Guard(TokenFile(config.token_file, registry), registry)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look after certificates and tokens while the context is open, then end the record."""
        watches = [self.tls.watch()] if self.tls else []
        watches += [self.guard.file.watch()] if self.guard else []
        tasks = [background(watch) for watch in watches]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            if self.recorder:
                await asyncio.to_thread(self.recorder.close)

    def grpc(
        self,
        classifier: ImageClassifier,
        open_inference: ImageInference,
        readiness: Readiness,
        forward: Forward | None = None,
    ) -> GrpcServer:
        """Return the server of gRPC, bound; raise `StartupError` if its port is taken.

        The arguments are as for `GrpcServer`.
        """
        config = self._config
        return GrpcServer(
            classifier,
            open_inference,
            readiness,
            host=config.host,
            port=config.grpc_port,
            bounds=Bounds(
                message_bytes=config.max_message_bytes,
                request_bytes=OTHER_REQUEST_BYTES,
                patience_s=config.default_timeout_ms / 1000,
                transfer_bytes=config.max_transfer_bytes,
                streams=config.max_streams,
                connections=config.max_connections,
                age_s=config.max_connection_age_s or math.inf,
            ),
            guard=self.guard,
            credentials=self.tls.grpc_credentials() if self.tls else None,
            recorder=self.recorder,
            forward=forward,
        )
