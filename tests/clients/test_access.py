"""Clients that show tokens and certificates to real servers."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from clients import AccessError, AsyncClassifierClient, ClassifierClient, Tls, UnavailableError
from clients.access import find_token, metadata
from serving.access.tokens import line, new_token
from tests.support.bundles import write_bundle
from tests.support.certificates import Authority
from tests.support.paths import ROOT
from tests.support.process import serve

TOKENS = {role: new_token() for role in ("classify", "read")}


@dataclass
class Site:
    """A server's address, an image, and what its clients have."""

    address: str
    image: bytes
    folder: Path

    def tls(self, name: str | None = "client") -> Tls:
        pair = [self.folder / f"{name}{end}" for end in (".pem", ".key")] if name else []
        return Tls(self.folder / "ca.pem", *pair)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("access")
    tokens = folder / "tokens"
    lines = [line(role, token, role) for role, token in TOKENS.items()]
    tokens.write_text("\n".join([*lines, "cert:camera classify"]))
    tokens.chmod(0o600)
    for role, token in TOKENS.items():
        (folder / role).write_text(f"{token}\n")
    authority = Authority()
    (folder / "ca.pem").write_bytes(authority.certificate)
    for name in ("server", "camera", "stranger"):
        authority.issue(name).write(folder, name)
    return folder


@pytest.fixture(scope="module")
def plain(bundle: Path, folder: Path) -> Iterator[Site]:
    image = (bundle / "golden/ant_0.png").read_bytes()
    with serve(bundle, "--token-file", str(folder / "tokens")) as server:
        yield Site(server.grpc, image, folder)


@pytest.fixture(scope="module")
def encrypted(bundle: Path, folder: Path) -> Iterator[Site]:
    image = (bundle / "golden/ant_0.png").read_bytes()
    flags = ["--tls-cert", "server.pem", "--tls-key", "server.key", "--tls-client-ca", "ca.pem"]
    paths = [flag if flag.startswith("--") else str(folder / flag) for flag in flags]
    with serve(bundle, "--token-file", str(folder / "tokens"), *paths) as server:
        yield Site(server.grpc, image, folder)


def test_a_token_lets_in_both_clients(plain: Site) -> None:
    async def ask() -> object:
        async with AsyncClassifierClient(plain.address, token=TOKENS["classify"]) as client:
            await client.list_models()
            await client.get_model()
            return (await client.classify([plain.image]))[0]

    with ClassifierClient(plain.address, token=TOKENS["classify"]) as client:
        client.list_models()
        client.get_model()
        [result] = client.classify([plain.image])
    assert asyncio.run(ask()).classes == result.classes  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("role", "code", "why"),
    [
        (None, grpc.StatusCode.UNAUTHENTICATED, "the server asks who calls"),
        ("read", grpc.StatusCode.PERMISSION_DENIED, "this needs the role classify or admin"),
    ],
    ids=["nobody", "read"],
)
def test_errors_say_what_is_missing(
    plain: Site, role: str | None, code: grpc.StatusCode, why: str
) -> None:
    with (
        ClassifierClient(plain.address, token=TOKENS[role] if role else None) as client,
        pytest.raises(AccessError, match=why) as raised,
    ):
        client.classify([plain.image])
    assert raised.value.code is code


def test_a_certificate_lets_in(encrypted: Site) -> None:
    with ClassifierClient(encrypted.address, tls=encrypted.tls("camera")) as client:
        [result] = client.classify([encrypted.image])
    assert result.classes  # type: ignore[union-attr]
    with (
        ClassifierClient(encrypted.address, tls=encrypted.tls("stranger")) as client,
        pytest.raises(AccessError, match="does not know the certificate of 'stranger'"),
    ):
        client.classify([encrypted.image])


def test_a_token_comes_before_a_certificate(encrypted: Site) -> None:
    tls = encrypted.tls("stranger")
    with ClassifierClient(encrypted.address, token=TOKENS["classify"], tls=tls) as client:
        client.classify([encrypted.image])
    tls = encrypted.tls("camera")
    with (
        ClassifierClient(encrypted.address, token=new_token(), tls=tls) as client,
        pytest.raises(AccessError, match="does not know this token"),
    ):
        client.classify([encrypted.image])


def test_who_shows_no_certificate_does_not_reach_the_server(encrypted: Site) -> None:
    with (
        ClassifierClient(encrypted.address, tls=encrypted.tls(None)) as client,
        pytest.raises(UnavailableError),
    ):
        client.classify([encrypted.image])


@pytest.mark.parametrize("address", ["example.com:50051", "10.0.0.1:50051", "dns:///example.com"])
def test_a_token_is_not_sent_to_another_machine_in_the_clear(address: str) -> None:
    for kind in (ClassifierClient, AsyncClassifierClient):
        with pytest.raises(ValueError, match=f"sent to {address} in the clear") as raised:
            kind(address, token=TOKENS["read"])
        assert TOKENS["read"] not in str(raised.value)
    assert metadata(address, "x", Tls()) == (("authorization", "Bearer x"),)
    assert metadata(address, None, None) == ()


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "\x7f", "é"])
def test_what_is_no_token(token: str) -> None:
    with pytest.raises(ValueError, match="a character that no token has"):
        ClassifierClient(token=token)


def test_where_a_token_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "token"
    path.write_text(" rxs_file\n")
    monkeypatch.delenv("CLIENTS_TOKEN", raising=False)
    assert find_token(None) is None
    monkeypatch.setenv("CLIENTS_TOKEN", "rxs_variable\n")
    assert find_token(None) == "rxs_variable"
    assert find_token(path) == "rxs_file"
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="token holds no token"):
        find_token(path)
    path.write_text("alice sha256:00 classify\n")
    with pytest.raises(ValueError, match="token is the token file of a server"):
        find_token(path)


def run(
    address: str, *flags: str | Path, variables: Sequence[tuple[str, str]] = ()
) -> "subprocess.CompletedProcess[str]":
    """Classify a sample on the command line."""
    image = ROOT / "examples/images/bag_30.png"
    command = [sys.executable, "-m", "clients", "classify", image, "--address", address, *flags]
    return subprocess.run(
        [*map(str, command)],
        env={**os.environ, **dict(variables)},
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_the_command_line_shows_a_token(plain: Site) -> None:
    done = run(plain.address, "--token-file", plain.folder / "classify")
    assert (done.returncode, done.stderr) == (0, "")
    done = run(plain.address, variables=[("CLIENTS_TOKEN", TOKENS["classify"])])
    assert (done.returncode, done.stderr) == (0, "")


def test_each_command_shows_a_token(plain: Site) -> None:
    command = [sys.executable, "-m", "clients", "models"]
    flags = ["--address", plain.address, "--token-file", str(plain.folder / "read")]
    for words, code, said in (
        (["list"], 0, "tiny"),
        (["load", "tiny"], 1, "PERMISSION_DENIED: this needs the role admin, and read has read"),
        (["unload", "tiny"], 1, "PERMISSION_DENIED: this needs the role admin, and read has read"),
    ):
        done = subprocess.run(
            [*command, *words, *flags], text=True, capture_output=True, timeout=60, check=False
        )
        assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done


def test_the_command_line_says_what_is_missing(plain: Site) -> None:
    done = run(plain.address)
    assert done.returncode == 1
    assert "error: UNAUTHENTICATED: the server asks who calls" in done.stderr
    assert "--token-file" in done.stderr
    done = run(plain.address, "--token-file", plain.folder / "none")
    assert done.returncode == 2
    assert (
        done.stderr == f"error: {plain.folder / 'none'} cannot be read: No such file or directory\n"
    )
    done = run(plain.address, "--token-file", plain.folder / "read")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: PERMISSION_DENIED: this needs the role classify or admin, and read has read\n"
    )
    done = run("192.0.2.1:1", "--token-file", plain.folder / "classify")
    assert done.returncode == 2
    assert "in the clear" in done.stderr
    assert "--tls" in done.stderr


def test_the_command_line_speaks_tls(encrypted: Site) -> None:
    ca, certificate, key = encrypted.tls("camera")
    assert certificate
    assert key
    flags: list[str | Path] = ["--tls-ca", ca or "", "--tls-cert", certificate, "--tls-key", key]
    done = run(encrypted.address, *flags)
    assert (done.returncode, done.stderr) == (0, "")
    done = run(encrypted.address, *flags[:4])
    assert done.returncode == 2
    assert "go together" in done.stderr
