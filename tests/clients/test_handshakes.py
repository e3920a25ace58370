"""What a client says when it and the server do not agree about TLS."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from clients import AsyncClassifierClient, Tls, UnavailableError
from tests.support.bundles import write_bundle
from tests.support.certificates import Authority
from tests.support.serving import listening_server


@dataclass
class Site:
    """The ports of servers by what they want, and a folder with certificates."""

    ports: dict[str, int]
    folder: Path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder, bundle = tmp_path_factory.mktemp("tls"), write_bundle(tmp_path_factory.mktemp("models"))
    authority = Authority()
    for name, content in (("ca", authority.certificate), ("other", Authority("other").certificate)):
        (folder / f"{name}.pem").write_bytes(content)
    files = dict(zip(("tls_cert", "tls_key"), authority.issue().write(folder), strict=True))
    elsewhere = authority.issue(names=["elsewhere.example.com"]).write(folder, "elsewhere")
    servers = {
        "plain": {},
        "tls": files,
        "mutual": {**files, "tls_client_ca": folder / "ca.pem"},
        "elsewhere": dict(zip(files, elsewhere, strict=True)),
    }
    async with AsyncExitStack() as running:
        ports = {}
        for kind, settings in servers.items():
            server = await running.enter_async_context(listening_server(bundle, **settings))
            ports[kind] = server.grpc.port
        ports["http"] = server.http.port
        yield Site(ports, folder)


@pytest.mark.parametrize(
    ("kind", "files", "why"),
    [
        ("tls", None, r"may want TLS \(tls="),
        ("mutual", ("ca.pem",), "or a client's certificate"),
        ("plain", ("ca.pem",), "it speaks no TLS there"),
        ("http", ("ca.pem",), "TLS there, but not gRPC"),
        ("tls", ("other.pem",), "no authority that is trusted here has signed"),
        ("tls", (), "no authority that is trusted here has signed"),
        ("elsewhere", ("ca.pem",), "its certificate is for other names"),
        ("tls", ("server.key",), "the files of TLS are not PEM"),
        ("tls", ("ca.pem", "ca.pem", "server.key"), "a key is of another certificate"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_the_error_says_what_to_do(
    kind: str, files: tuple[str, ...] | None, why: str, site: Site
) -> None:
    tls = None if files is None else Tls(*(site.folder / name for name in files))
    address = f"localhost:{site.ports[kind]}"
    with pytest.raises(UnavailableError, match=f"no call reaches the server at {address}: .*{why}"):
        async with AsyncClassifierClient(address, tls=tls) as client:
            await client.list_models()
