"""The load tester against servers that ask who calls."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.load.__main__ import LoadTest, _run
from cli.program import UsageError
from clients.errors import AccessError, UnavailableError
from serving.access.tokens import line, new_token
from serving.server import Server
from tests.support.bundles import write_bundle
from tests.support.certificates import Authority
from tests.support.serving import running_server


@dataclass
class Site:
    """A folder with what a server and its callers have."""

    folder: Path
    bundle: Path

    def load(self, server: Server, **flags: object) -> dict[str, object]:
        """Load a server for a moment; return which errors it answered, by their code."""
        grpc, http = (f"localhost:{port}" for port in (server.grpc.port, server.http.port))
        quick = {"concurrency": [2], "duration_s": 0.1, "warm_up_s": 0.0}
        where = {"address": grpc, "http_address": http, "images": str(self.bundle / "golden")}
        output = {"output": self.folder / "out"}
        _run(LoadTest.model_validate(quick | where | output | flags))
        [run] = json.loads((self.folder / "out/bench.json").read_text())["runs"]
        assert run["requests"]
        return dict(run["errors"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("access")
    tokens, authority = {role: new_token() for role in ("classify", "read")}, Authority()
    (folder / "tokens").write_text("\n".join(line(role, t, role) for role, t in tokens.items()))
    (folder / "tokens").chmod(0o600)
    for role, token in tokens.items():
        (folder / role).write_text(token)
    authority.issue("server").write(folder)
    (folder / "ca.pem").write_bytes(authority.certificate)
    return Site(folder, write_bundle(folder / "models"))


async def test_over_tls_with_a_token(site: Site) -> None:
    folder = site.folder
    pair = {"tls_cert": folder / "server.pem", "tls_key": folder / "server.key"}
    shown = {"token_file": folder / "classify", "tls_ca": folder / "ca.pem"}
    async with running_server(site.bundle, token_file=folder / "tokens", **pair) as server:
        load = site.load
        assert await asyncio.to_thread(load, server, **shown) == {}
        assert await asyncio.to_thread(load, server, **shown, open_inference=True) == {}
        with pytest.raises(UnavailableError, match="may want TLS"):
            await asyncio.to_thread(load, server, token_file=folder / "classify")
        with pytest.raises(AccessError, match="the server asks who calls"):
            await asyncio.to_thread(load, server, tls_ca=folder / "ca.pem")
        with pytest.raises(UsageError, match="over HTTP the load tester speaks no TLS"):
            await asyncio.to_thread(load, server, **shown, http_path="/v1/classify")


async def test_over_http_with_a_token(site: Site) -> None:
    folder = site.folder
    async with running_server(site.bundle, token_file=folder / "tokens") as server:
        load, over = site.load, {"http_path": "/v1/classify"}
        assert await asyncio.to_thread(load, server, **over, token_file=folder / "classify") == {}
        refused = await asyncio.to_thread(load, server, **over, token_file=folder / "read")
    assert set(refused) == {"PERMISSION_DENIED"}


def test_a_token_is_not_sent_in_the_clear(site: Site) -> None:
    elsewhere = LoadTest(token_file=site.folder / "read", address="192.0.2.1:1")
    with pytest.raises(UsageError, match=r"sent to 192\.0\.2\.1:1 in the clear.*--tls"):
        _run(elsewhere)
