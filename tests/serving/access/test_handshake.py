"""Connections of HTTP over TLS, in both event loops: what strangers may take of them."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.access.certificates import load
from serving.http.app import Application
from serving.http.server import HttpServer
from serving.http.traffic import HttpBounds
from serving.settings.tls import TlsFiles
from tests.serving.http.raw import GET, read_answer
from tests.support.certificates import Authority
from tests.support.serving import until

Run = Callable[[Coroutine[Any, Any, None]], None]
pytestmark = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
LARGE = 2**25  # bytes; more than the kernel holds


class Tls:
    """Runs servers with a certificate, and connects to them."""

    def __init__(self, authority: Authority, ca: Path, folder: Path) -> None:
        self._server = load(TlsFiles(*authority.issue().write(folder))).context
        self._client = ssl.create_default_context(cafile=ca)
        self.failures = 0

    def context(self) -> ssl.SSLContext:
        return self._server

    def count_failure(self) -> None:
        self.failures += 1

    @asynccontextmanager
    async def serve(self, bounds: HttpBounds | None = None) -> AsyncIterator[HttpServer]:
        async def small(_: Request) -> Response:
            return Response(b"small")

        async def large(_: Request) -> Response:
            return Response(bytes(LARGE))

        app = Application([Route("/healthz", small, methods=["POST"]), Route("/large", large)])
        server = HttpServer(app, "127.0.0.1", 0, bounds, tls=self)
        async with server.listening(), asyncio.timeout(60):
            yield server

    async def connect(
        self, server: HttpServer
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("localhost", server.port, ssl=self._client)


@pytest.fixture
def tls(authority: Authority, ca: Path, tmp_path: Path) -> Tls:
    return Tls(authority, ca, tmp_path)


def silent(server: HttpServer) -> socket.socket:
    """Connect, and begin no handshake."""
    return socket.create_connection(("127.0.0.1", server.port))


def test_a_connection_has_many_answers_of_any_size(run: Run, tls: Tls) -> None:
    async def scenario() -> None:
        async with tls.serve() as server:
            reader, writer = await tls.connect(server)
            post = GET.replace(b"GET", b"POST") + b"Content-Length: 1000000\r\n\r\n"
            for _ in range(3):
                writer.write(post + bytes(1_000_000))
                assert (await read_answer(reader))[1] == b"small"
                writer.write(GET.replace(b"/healthz", b"/large") + b"\r\n")
                assert len((await read_answer(reader))[1]) == LARGE
            writer.close()

    run(scenario())


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", b"\x16\x03\x01\x00\xff" + bytes(50)])
def test_a_handshake_that_never_ends_is_ended(run: Run, sent: bytes, tls: Tls) -> None:
    async def scenario() -> None:
        async with tls.serve(HttpBounds(head_s=0.05)) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(sent)
            await read_to_end(reader)
            await until(lambda: not server.traffic.connections)
            writer.close()

    run(scenario())


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """Read until the connection ends, be it by a reset."""
    try:
        return await reader.read()
    except OSError:
        return b""


def test_handshakes_count_as_connections_and_keep_nobody_out(run: Run, tls: Tls) -> None:
    async def scenario() -> None:
        async with tls.serve(HttpBounds(connections=4)) as server:
            strangers = [silent(server) for _ in range(20)]
            await until(lambda: len(server.traffic.connections) == 4)
            for _ in range(8):
                reader, writer = await tls.connect(server)
                writer.write(GET.replace(b"GET", b"POST") + b"\r\n")
                assert (await read_answer(reader))[1] == b"small"
                strangers += [silent(server) for _ in range(3)]
                await until(lambda: len(server.traffic.connections) <= 4)
                writer.close()
            for stranger in strangers:
                stranger.close()
            await until(lambda: not server.traffic.connections)

    run(scenario())


def test_who_leaves_in_the_handshake_is_forgotten(run: Run, tls: Tls) -> None:
    async def scenario() -> None:
        async with tls.serve() as server:
            for sent in (b"", b"\x16\x03\x01"):
                with silent(server) as stranger:
                    stranger.sendall(sent)
                    await until(lambda: bool(server.traffic.connections))
                await until(lambda: not server.traffic.connections)
                assert tls.failures == 0  # probes connect and leave, and are no failures

    run(scenario())


def mistrust(server: HttpServer) -> None:
    """Refuse its certificate, and tell it so."""
    with silent(server) as connection, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(connection, server_hostname="localhost")


def test_a_handshake_that_fails_is_counted_and_told(
    run: Run, tls: Tls, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with tls.serve() as server:
            for number, sent in enumerate((GET + b"\r\n", b"rubbish" * 9), start=1):
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(sent)
                await read_to_end(reader)
                await until(lambda number=number: tls.failures == number)
                writer.close()
            await asyncio.to_thread(mistrust, server)
            await until(lambda: tls.failures == 3)
            reader, writer = await tls.connect(server)
            writer.write(GET.replace(b"GET", b"POST") + b"\r\n")
            assert (await read_answer(reader))[1] == b"small"
            writer.close()

    run(scenario())
    told = [line for line in caplog.messages if "handshake" in line]
    assert told == [
        f"the TLS handshake with 127.0.0.1 failed: {what}"
        for what in (
            "it spoke plain HTTP to the TLS port",
            "it spoke no TLS",
            "it does not trust the issuer of the server's certificate",
        )
    ]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (GET + b"X: " + b"x" * 40_000, b"431"),
        (GET + b"Content-Length: 1001\r\n\r\n" + b"x" * 1001, b"413"),
        (b"rubbish\r\n\r\n", b"400"),
        (GET, b"408"),
    ],
)
def test_a_refusal_is_read_and_the_connection_ends(
    run: Run, sent: bytes, code: bytes, tls: Tls
) -> None:
    async def scenario() -> None:
        bounds = HttpBounds(body_bytes=1000, linger_s=0.05, head_s=1.0)
        async with tls.serve(bounds) as server:
            reader, writer = await tls.connect(server)
            writer.write(sent)
            head, body = await read_answer(reader)
            assert head.split()[1] == code
            assert b"connection: close" in head.splitlines()
            assert body.startswith(b'{"error":"')
            writer.write(b"more that nobody reads")
            await until(lambda: not server.traffic.connections)
            assert server.traffic.held == 0
            writer.close()

    run(scenario())


def test_a_client_that_does_not_read_its_answer_loses_it(run: Run, tls: Tls) -> None:
    async def scenario() -> None:
        async with tls.serve(HttpBounds(patience_s=0.05)) as server:
            reader, writer = await tls.connect(server)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(GET.replace(b"/healthz", b"/large") + b"\r\n")
            await until(lambda: server._server.server_state.total_requests == 1)
            await until(lambda: not server.traffic.connections)
            writer.close()
            assert len(await read_to_end(reader)) < LARGE

    run(scenario())


def test_an_old_connection_ends_with_its_next_answer(run: Run, tls: Tls) -> None:
    async def scenario() -> None:
        async with tls.serve(HttpBounds(age_s=0)) as server:
            reader, writer = await tls.connect(server)
            writer.write(GET.replace(b"GET", b"POST") + b"\r\n")
            head, body = await read_answer(reader)
            assert b"connection: close" in head.splitlines()
            assert body == b"small"
            assert await reader.read() == b""
            writer.close()

    run(scenario())
