"""TLS for both ports, with certificates that are exchanged while the server runs."""

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Any

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge

from serving.access.certificates import CertificateError, ServerCertificate, load, moment
from serving.errors import StartupError
from serving.settings.tls import TlsFiles

logger = logging.getLogger(__name__)

# How often the files are looked at, in seconds.
LOOK_S = 1.0

# What changes when one of the files is written, replaced or removed.
Look = tuple[tuple[int, ...], ...]


class ServerTls:
    """What new connections are shown: what the files hold, or else the last that was right.

    Connections that are open keep what they have. New credentials must have proved right as a
    whole: somebody who copies a certificate and then its key leaves a pair in between that does not
    fit. So files that are wrong are reported once they have stayed the same from one look to the
    next, and are tried again at each.

    Args:
        files: where they are.
        registry: for the metrics.

    Attributes:
        current: what new connections are shown; any thread may ask.

    Raises:
        StartupError: the files make no TLS server.
    """

    def __init__(self, files: TlsFiles, registry: CollectorRegistry) -> None:
        self._files = files
        self._reloads = Counter(
            "serving_tls_reloads_total",
            "Exchanges of the certificate or key: ok, or failed, when the last good one stays",
            ("outcome",),
            registry=registry,
        )
        self._expires = Gauge(
            "serving_tls_certificate_expires_timestamp_seconds",
            "When the certificate that new connections are shown expires, in seconds since 1970",
            registry=registry,
        )
        self._failures = Counter(
            "serving_tls_handshakes_failed_total",
            "TLS handshakes that failed, without those whose client only left; gRPC tells of none",
            ("port",),
            registry=registry,
        ).labels("http")
        for outcome in ("ok", "failed"):
            self._reloads.labels(outcome)
        self._seen = self._reported = self._look_of_files()
        try:
            self._use(load(files))
        except CertificateError as error:
            raise StartupError(str(error)) from error

    def context(self) -> ssl.SSLContext:
        """Return what HTTP shows its next connection."""
        return self.current.context

    def count_failure(self) -> None:
        """Note that a handshake of HTTP has failed."""
        self._failures.inc()

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """Return what gRPC shows its connections, and how it asks for newer ones before each."""
        given = self.current

        def newer() -> Any:  # a thread of gRPC's, and under its lock
            nonlocal given
            if given is (latest := self.current):
                return None
            given = latest
            return _configuration(latest)

        asks = given.client_ca is not None
        credentials: grpc.ServerCredentials = grpc.dynamic_ssl_server_credentials(
            _configuration(given), newer, require_client_authentication=asks
        )
        return credentials

    async def watch(self) -> None:
        """Look at the files until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await asyncio.to_thread(self.look)
            except Exception:  # else no certificate would ever be taken again
                logger.exception("the files of TLS could not be looked at")

    def look(self) -> None:
        """Take what the files hold, if they have changed and are right."""
        before, self._seen = self._seen, self._look_of_files()
        if self._seen == self._loaded:
            self._reported = self._loaded
            return
        try:
            self._use(load(self._files))
        except CertificateError as error:
            if before == self._seen != self._reported:
                self._report(error)
        else:
            self._reloads.labels("ok").inc()
            logger.info("%s", self._description())

    def _use(self, certificate: ServerCertificate) -> None:
        self._loaded, self.current = self._seen, certificate
        self._expires.set(certificate.expires.timestamp())

    def _report(self, error: CertificateError) -> None:
        self._reported = self._seen
        self._reloads.labels("failed").inc()
        logger.error("%s; until that is mended, %s", error, self._description())

    def _description(self) -> str:
        return (
            f"new connections get the certificate {self.current.serial:x}, which is valid until "
            f"{moment(self.current.expires)}"
        )

    def _look_of_files(self) -> Look:
        """Return how they look now."""
        return tuple(_stat(path) for path in self._files if path)


def _configuration(certificate: ServerCertificate) -> Any:
    return grpc.ssl_server_certificate_configuration(
        [(certificate.key, certificate.chain)], certificate.client_ca
    )


def _stat(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError as error:
        return (error.errno or 0,)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
