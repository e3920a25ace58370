"""TLS on both ports of one server, as clients of several kinds see it."""

import asyncio
import logging
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from serving.access.tls import ServerTls
from serving.errors import StartupError
from serving.rpc import options
from serving.server import Server
from serving.settings.tls import TlsFiles
from tests.support.certificates import DAY, Authority, Pair
from tests.support.serving import listening_server, until

HEALTH = "/grpc.health.v1.Health/Check"


@asynccontextmanager
async def encrypted(
    tiny: Path, files: tuple[Path, Path], **settings: object
) -> AsyncIterator[Server]:
    """Run a server with TLS and nothing loaded."""
    certificate, key = files
    async with listening_server(tiny, tls_cert=certificate, tls_key=key, **settings) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(
    tiny: Path, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    """A server of which every client may ask."""
    async with encrypted(tiny, authority.issue().write(tmp_path_factory.mktemp("tls"))) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mutual(
    tiny: Path, authority: Authority, ca: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    """A server that asks its clients for certificates, and gives one of them a role."""
    folder = tmp_path_factory.mktemp("mutual")
    tokens = folder / "tokens"
    tokens.write_text("cert:scraper read\n")
    tokens.chmod(0o600)
    files = authority.issue().write(folder)
    async with encrypted(tiny, files, tls_client_ca=ca, token_file=tokens) as running:
        yield running


def trusting(ca: Path, client: Pair | None = None, folder: Path | None = None) -> ssl.SSLContext:
    """Return what a client needs that trusts an authority, and may have a certificate itself."""
    context = ssl.create_default_context(cafile=ca)
    if client and folder:
        context.load_cert_chain(*client.write(folder, "client"))
    return context


async def health(port: int, credentials: grpc.ChannelCredentials) -> grpc.StatusCode:
    """Return the code of one call in a new connection."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials, options) as channel:
        try:
            await channel.unary_unary(HEALTH)(b"", timeout=30)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


async def serial(port: int, context: ssl.SSLContext, protocol: str) -> int:
    """Return the number of the certificate that one handshake shows."""
    context.set_alpn_protocols([protocol])
    _, writer = await asyncio.open_connection("localhost", port, ssl=context)
    shown = writer.get_extra_info("peercert")["serialNumber"]
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == protocol
    writer.close()
    return int(shown, 16)


@pytest.mark.asyncio(loop_scope="module")
async def test_both_ports_answer(server: Server, authority: Authority, ca: Path) -> None:
    url = f"https://localhost:{server.http.port}"
    async with httpx.AsyncClient(base_url=url, verify=trusting(ca), trust_env=False) as client:
        for _ in range(2):
            assert (await client.get("/healthz")).json() == {"alive": True}
    credentials = grpc.ssl_channel_credentials(authority.certificate)
    assert await health(server.grpc.port, credentials) is grpc.StatusCode.OK


@pytest.mark.asyncio(loop_scope="module")
async def test_who_speaks_no_tls_is_not_answered(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.http.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"HTTP" not in await reader.read()
    writer.close()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary(HEALTH)(b"", timeout=30)


@pytest.mark.parametrize(("version", "accepted"), [("1.1", False), ("1.2", True), ("1.3", True)])
@pytest.mark.parametrize("port", ["grpc", "http"])
@pytest.mark.asyncio(loop_scope="module")
async def test_versions(version: str, accepted: bool, port: str, server: Server, ca: Path) -> None:
    number = getattr(server, port).port
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{number}", "-CAfile", str(ca)]
    command += ["-verify_return_error", f"-tls{version.replace('.', '_')}"]
    command += ["-alpn", "h2,http/1.1", "-cipher", "ALL:@SECLEVEL=0"]
    done = await asyncio.to_thread(
        subprocess.run, command, stdin=subprocess.DEVNULL, capture_output=True
    )
    assert (done.returncode == 0) is accepted, done.stderr
    assert (b"subject=CN = server" in done.stdout) is accepted


@pytest.mark.asyncio(loop_scope="module")
async def test_only_certificates_of_the_authority_open_the_ports(
    mutual: Server, authority: Authority, other: Authority, ca: Path, tmp_path: Path
) -> None:
    url = f"https://localhost:{mutual.http.port}"
    strange, known = other.issue("scraper"), authority.issue("stranger")
    for client, let_in in ((None, False), (strange, False), (known, True)):
        verify = trusting(ca, client, tmp_path)
        async with httpx.AsyncClient(base_url=url, verify=verify, trust_env=False) as calls:
            if let_in:
                assert (await calls.get("/healthz")).status_code == 200
            else:
                with pytest.raises(httpx.TransportError):
                    await calls.get("/healthz")
        pair = (client.key, client.certificate) if client else (None, None)
        credentials = grpc.ssl_channel_credentials(authority.certificate, *pair)
        wanted = grpc.StatusCode.OK if let_in else grpc.StatusCode.UNAVAILABLE
        assert await health(mutual.grpc.port, credentials) is wanted


@pytest.mark.parametrize(
    ("client", "metrics"),
    [
        (("scraper", ["x.example.com"]), 200),
        (("stranger", ["scraper"]), 401),
        (("", ["scraper"]), 200),
        (("", []), 401),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_the_name_in_a_certificate_has_its_role(
    client: tuple[str, list[str]],
    metrics: int,
    mutual: Server,
    authority: Authority,
    ca: Path,
    tmp_path: Path,
) -> None:
    pair = authority.issue(*client)
    url = f"https://localhost:{mutual.http.port}"
    verify = trusting(ca, pair, tmp_path)
    async with httpx.AsyncClient(base_url=url, verify=verify, trust_env=False) as calls:
        assert (await calls.get("/metrics")).status_code == metrics
    credentials = grpc.ssl_channel_credentials(authority.certificate, pair.key, pair.certificate)
    async with grpc.aio.secure_channel(f"localhost:{mutual.grpc.port}", credentials) as channel:
        call = channel.unary_unary("/resnext.serving.v1.Classifier/ListModels")(b"", timeout=30)
        denied = grpc.StatusCode.UNAUTHENTICATED
        assert (await call.code() is denied) is (metrics == 401)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_client_without_a_certificate_is_told_of_and_counted(
    mutual: Server, ca: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def failures() -> float:
        name, labels = "serving_tls_handshakes_failed_total", {"port": "http"}
        return mutual.metrics.registry.get_sample_value(name, labels) or 0

    before, url = failures(), f"https://localhost:{mutual.http.port}/healthz"
    async with httpx.AsyncClient(verify=trusting(ca), trust_env=False) as calls:
        with pytest.raises(httpx.TransportError):
            await calls.get(url)
    await until(lambda: failures() == before + 1)
    assert "failed: it showed no certificate (--tls-client-ca)" in caplog.text


async def test_certificates_are_exchanged_between_two_handshakes(
    tiny: Path, authority: Authority, other: Authority, ca: Path, tmp_path: Path
) -> None:
    old, new = authority.issue(), other.issue()
    new_ca = tmp_path / "new_ca.pem"
    new_ca.write_bytes(other.certificate)
    async with encrypted(tiny, old.write(tmp_path)) as server, asyncio.timeout(60):
        ports = ((server.grpc.port, "h2"), (server.http.port, "http/1.1"))
        url = f"https://localhost:{server.http.port}"
        async with httpx.AsyncClient(base_url=url, verify=trusting(ca), trust_env=False) as client:
            assert (await client.get("/healthz")).status_code == 200
            for port, protocol in ports:
                assert await serial(port, trusting(ca), protocol) == old.serial
            new.write(tmp_path)
            await until(lambda: reloads(server.metrics.registry, "ok") == 1)
            for port, protocol in ports:
                assert await serial(port, trusting(new_ca), protocol) == new.serial
                with pytest.raises(ssl.SSLCertVerificationError):
                    await serial(port, trusting(ca), protocol)
            assert (await client.get("/healthz")).status_code == 200  # in the old connection
        credentials = grpc.ssl_channel_credentials(other.certificate)
        assert await health(server.grpc.port, credentials) is grpc.StatusCode.OK
        expires = server.metrics.registry.get_sample_value(
            "serving_tls_certificate_expires_timestamp_seconds"
        )
        assert server._ports._callers.tls
        assert expires == server._ports._callers.tls.current.expires.timestamp()


def reloads(registry: CollectorRegistry, outcome: str) -> float | None:
    """Return how many exchanges ended so."""
    return registry.get_sample_value("serving_tls_reloads_total", {"outcome": outcome})


async def test_authorities_of_clients_are_exchanged_too(
    tiny: Path, authority: Authority, other: Authority, ca: Path, tmp_path: Path
) -> None:
    client_ca = tmp_path / "clients.pem"
    client_ca.write_bytes(authority.certificate)
    client, newer = authority.issue("client"), other.issue("client")
    files = authority.issue().write(tmp_path)
    async with encrypted(tiny, files, tls_client_ca=client_ca) as server, asyncio.timeout(60):

        async def let_in(pair: Pair) -> list[bool]:
            url = f"https://localhost:{server.http.port}"
            verify = trusting(ca, pair, tmp_path)
            credentials = grpc.ssl_channel_credentials(
                authority.certificate, pair.key, pair.certificate
            )
            over_grpc = await health(server.grpc.port, credentials) is grpc.StatusCode.OK
            async with httpx.AsyncClient(base_url=url, verify=verify, trust_env=False) as calls:
                try:
                    return [over_grpc, (await calls.get("/healthz")).is_success]
                except httpx.TransportError:
                    return [over_grpc, False]

        assert [await let_in(client), await let_in(newer)] == [[True] * 2, [False] * 2]
        client_ca.write_bytes(other.certificate)
        await until(lambda: reloads(server.metrics.registry, "ok") == 1)
        assert [await let_in(client), await let_in(newer)] == [[False] * 2, [True] * 2]


class Exchange:
    """The files of a server, which a test exchanges, and looks at when it likes."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        self.folder, self.registry = folder, CollectorRegistry()
        self.files = TlsFiles(*authority.issue().write(folder))
        self.tls = ServerTls(self.files, self.registry)

    def outcomes(self) -> tuple[float | None, float | None]:
        return reloads(self.registry, "ok"), reloads(self.registry, "failed")


@pytest.fixture
def exchange(authority: Authority, tmp_path: Path) -> Exchange:
    return Exchange(authority, tmp_path)


@pytest.mark.parametrize("key_first", [False, True])
def test_a_pair_that_comes_in_two_steps_is_taken_when_it_fits(
    key_first: bool, exchange: Exchange, authority: Authority
) -> None:
    old, new = exchange.tls.current, authority.issue()
    steps = [(exchange.files.certificate, new.certificate), (exchange.files.key, new.key)]
    (first, one), (second, two) = reversed(steps) if key_first else steps
    first.write_bytes(one)
    exchange.tls.look()
    assert exchange.tls.current is old
    assert exchange.outcomes() == (0, 0)  # it may be on its way
    second.write_bytes(two)
    exchange.tls.look()
    assert exchange.tls.current.serial == new.serial
    assert exchange.outcomes() == (1, 0)


def test_a_broken_file_keeps_the_last_good_one_and_is_told_once(
    exchange: Exchange, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = exchange.tls.current, authority.issue()
    expired = authority.issue(valid=DAY / 2)
    for number, content in enumerate((b"", new.certificate[:-60], expired.certificate), start=1):
        caplog.clear()
        exchange.files.certificate.write_bytes(content)
        for _ in range(4):
            exchange.tls.look()
        assert exchange.tls.current is old
        assert exchange.outcomes() == (0, number)
        [record] = caplog.records
        assert record.levelno == logging.ERROR
        assert f"{exchange.files.certificate}" in record.message
        assert f"new connections get the certificate {old.serial:x}, which is" in record.message
    exchange.files.key.unlink()
    exchange.tls.look()
    new.write(exchange.folder)
    exchange.tls.look()
    assert exchange.tls.current.serial == new.serial
    assert exchange.outcomes() == (1, 3)


def test_what_has_not_changed_is_not_read(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.access.tls.load", None)
    exchange.tls.look()
    assert exchange.outcomes() == (0, 0)


def test_a_server_does_not_start_with_files_that_are_wrong(
    exchange: Exchange, authority: Authority
) -> None:
    exchange.files.key.write_bytes(authority.issue().key)
    with pytest.raises(StartupError, match=r"server\.key is not that of the certificate in"):
        ServerTls(exchange.files, CollectorRegistry())


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", b"\x16\x03\x01\x00\xff" + bytes(50)])
async def test_a_handshake_that_never_ends_takes_no_connection_of_grpc(
    sent: bytes,
    tiny: Path,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(options, "HANDSHAKE_MS", 300)
    files = authority.issue().write(tmp_path)
    async with encrypted(tiny, files, max_connections=2) as server, asyncio.timeout(60):
        silent = [socket.create_connection(("127.0.0.1", server.grpc.port)) for _ in range(2)]
        for connection in silent:
            connection.sendall(sent)
        credentials = grpc.ssl_channel_credentials(authority.certificate)
        while await health(server.grpc.port, credentials) is not grpc.StatusCode.OK:
            pass  # until they have been closed
        for connection in silent:
            connection.close()


async def test_a_server_with_idle_connections_ends_at_once(
    tiny: Path,
    authority: Authority,
    ca: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with asyncio.timeout(60), encrypted(tiny, authority.issue().write(tmp_path)) as server:
        context = trusting(ca)
        reader, writer = await asyncio.open_connection("localhost", server.http.port, ssl=context)
        silent = socket.create_connection(("127.0.0.1", server.http.port))
        connections = server.http.traffic.connections
        await until(lambda: len(connections) == 2)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    assert not connections
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    writer.close()
    silent.close()
