"""A connection that has to prove that it speaks TLS before it becomes one of HTTP."""

import asyncio
import logging
import ssl
import time
from http import HTTPStatus
from typing import Protocol, cast

from serving.http.connection import HttpConnection
from serving.http.traffic import Phase, Traffic

logger = logging.getLogger(__name__)

# Time for a client to say goodbye in TLS when its connection is closed, in seconds.
GOODBYE_S = 1.0
# What went wrong, by OpenSSL's name of it; of others, the name is told.
FAULTS = {
    "HTTP_REQUEST": "it spoke plain HTTP to the TLS port",
    "WRONG_VERSION_NUMBER": "it spoke no TLS",
    "UNSUPPORTED_PROTOCOL": "it speaks only TLS older than 1.2",
    "NO_SHARED_CIPHER": "it has none of the ciphers that this server takes",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no certificate (--tls-client-ca)",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the issuer of the server's certificate",
}


class Tls(Protocol):
    """What new connections are shown."""

    def context(self) -> ssl.SSLContext:
        """Return the context of TLS for a new connection."""

    def count_failure(self) -> None:
        """Note that a handshake has failed."""


class Handshake(asyncio.Protocol):
    """Counts as a connection whose request is coming, and ends like one that takes too long.

    A server of asyncio that is given a context tells of a connection only after the handshake:
    whoever never finishes one would be bounded by nothing.

    Args:
        traffic: what all connections share.
        tls: what it is shown.
        http: what the connection becomes.
    """

    phase, in_head = Phase.RECEIVING, True
    held = unread_bytes = 0

    def __init__(self, traffic: Traffic, tls: Tls, http: HttpConnection) -> None:
        self._traffic, self._tls, self._http = traffic, tls, http
        self.since_s = time.monotonic()
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, at another's cost if need be."""
        self._transport = transport
        transport.pause_reading()  # what comes is for TLS, which begins in the loop's next turn
        self._traffic.enter(self)
        self._task = asyncio.get_running_loop().create_task(self._shake_hands())

    def data_received(self, data: bytes) -> None:
        """Keep what comes too early.

        That is the client's hello if the loop is uvloop, which begins to read whatever
        `connection_made` says; and what comes with the end of the handshake if it is asyncio's,
        which hands it over before `start_tls` returns.
        """
        self._early.append(data)

    async def _shake_hands(self) -> None:
        if self._transport.is_closing():  # another connection has taken its place
            self._traffic.leave(self)
            return
        loop = asyncio.get_running_loop()
        self._transport.pause_reading()
        starting = loop.start_tls(
            self._transport,
            self,
            self._tls.context(),
            server_side=True,
            ssl_handshake_timeout=self._traffic.bounds.head_s,
            ssl_shutdown_timeout=GOODBYE_S,
        )
        upgrade = loop.create_task(starting)
        # Its first step plans that TLS begins, and reads again. What is planned next is done right
        # after that, before the loop looks for more.
        await asyncio.sleep(0)
        loop.call_soon(self._say_hello)
        try:
            encrypted = await upgrade
        except OSError as error:  # those of TLS, too
            encrypted = None
            self._tell(error)
        self._traffic.leave(self)
        # One that was aborted meanwhile ends without an error.
        if encrypted and not encrypted.is_closing():
            encrypted.set_protocol(self._http)
            self._http.begin_encrypted(encrypted, self._transport)
            for data in self._early:
                self._http.data_received(data)

    def _tell(self, error: OSError) -> None:
        """Count and log a failure, but not of who only left: probes of a port do that."""
        peer = (self._transport.get_extra_info("peername") or "?")[0]
        if isinstance(error, ConnectionResetError | BrokenPipeError):
            logger.debug("%s left before the TLS handshake was over", peer)
            return
        self._tls.count_failure()
        logger.warning("the TLS handshake with %s failed: %s", peer, _fault(error))

    def _say_hello(self) -> None:
        early, self._early = b"".join(self._early), []
        if early and not self._transport.is_closing():
            tls = cast("asyncio.BufferedProtocol", self._transport.get_protocol())
            memoryview(tls.get_buffer(len(early)))[: len(early)] = early
            tls.buffer_updated(len(early))

    def refuse(self, status: HTTPStatus, message: str) -> None:  # noqa: ARG002
        """Close: there is no way yet to say why."""
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def shutdown(self) -> None:
        """Close; the server ends."""
        self.abort()


def _fault(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return FAULTS.get(error.reason, error.reason.lower().replace("_", " "))
    return str(error)
