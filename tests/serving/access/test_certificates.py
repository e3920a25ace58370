"""Files that make no TLS server, and what is said of them."""

import os
import re
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serving.access.certificates import MOST_BYTES, CertificateError, load
from serving.settings.tls import TlsFiles
from tests.support.certificates import DAY, Authority


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> TlsFiles:
    """A pair that is right."""
    return TlsFiles(*authority.issue().write(tmp_path))


def refusal(files: TlsFiles) -> str:
    """Return why the files are refused, without the folder that they are in."""
    with pytest.raises(CertificateError) as refused:
        load(files)
    return str(refused.value).replace(f"{files.certificate.parent}/", "")


def test_a_pair_with_its_issuers_is_right(files: TlsFiles, authority: Authority, ca: Path) -> None:
    files.certificate.write_bytes(b"words\n" + files.certificate.read_bytes() + ca.read_bytes())
    credentials = load(files._replace(client_ca=ca))
    assert credentials.chain == files.certificate.read_bytes()
    assert credentials.client_ca == authority.certificate
    assert timedelta(hours=23) < credentials.expires - datetime.now(UTC) < DAY


@pytest.mark.parametrize("missing", ["certificate", "key", "client_ca"])
def test_a_file_that_is_not_there(missing: str, files: TlsFiles, ca: Path, tmp_path: Path) -> None:
    files = files._replace(client_ca=ca)._replace(**{missing: tmp_path / "gone.pem"})
    assert refusal(files) == "gone.pem cannot be read: No such file or directory"


def test_what_is_no_file_and_what_is_too_large(files: TlsFiles, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for key in (tmp_path, tmp_path / "pipe"):
        assert refusal(files._replace(key=key)).endswith(" is not a file")
    files.certificate.write_bytes(bytes(MOST_BYTES + 1))
    assert "server.pem is larger than 1048576 bytes" in refusal(files)


def test_files_that_were_mixed_up(files: TlsFiles) -> None:
    mixed = TlsFiles(files.key, files.certificate)
    assert refusal(mixed) == "server.key must hold a CERTIFICATE in PEM; it holds PRIVATE KEY"


def test_what_is_not_pem_or_cut_off(files: TlsFiles) -> None:
    whole = files.certificate.read_bytes()
    for content in (b"", b"\x30\x82\x01", whole[:-40]):
        files.certificate.write_bytes(content)
        assert refusal(files) == (
            "server.pem must hold a CERTIFICATE in PEM; it holds nothing that is PEM and whole"
        )


def test_a_block_that_holds_something_else_is_named_by_its_line(files: TlsFiles) -> None:
    lines = files.certificate.read_bytes().splitlines(keepends=True)
    files.certificate.write_bytes(b"".join([*lines, lines[0], *lines[3:]]))
    assert refusal(files).startswith(f"server.pem:{len(lines) + 1}: this is no certificate: ")
    lines = files.key.read_bytes().splitlines(keepends=True)
    files.certificate.write_bytes(b"".join(lines).replace(b"PRIVATE KEY", b"CERTIFICATE"))
    assert refusal(files).startswith("server.pem:1: this is no certificate: ")


def test_a_key_of_another_certificate(files: TlsFiles, authority: Authority) -> None:
    files.key.write_bytes(authority.issue().key)
    said = refusal(files)
    assert said.startswith("the key in server.key is not that of the certificate in server.pem (CN")


def test_issuers_before_the_certificate(files: TlsFiles, authority: Authority) -> None:
    files.certificate.write_bytes(authority.certificate + files.certificate.read_bytes())
    assert "server.key is that of certificate 2, which must be the first" in refusal(files)


def test_a_key_that_is_encrypted(authority: Authority, tmp_path: Path) -> None:
    said = refusal(TlsFiles(*authority.issue(password=b"secret").write(tmp_path)))
    assert said.startswith("server.key:1: the key is encrypted, and nobody is there to give")
    assert "secret" not in said


@pytest.mark.parametrize(
    "kind",
    [
        "-algorithm ed25519",
        "-algorithm rsa -pkeyopt rsa_keygen_bits:1024",
        "-algorithm ec -pkeyopt ec_paramgen_curve:P-521",
    ],
)
def test_a_key_that_grpc_cannot_use_or_that_is_weak(kind: str, tmp_path: Path) -> None:
    files = TlsFiles(tmp_path / "server.pem", tmp_path / "server.key")
    make = ["openssl", "genpkey", *kind.split(), "-out", str(files.key)]
    subprocess.run(make, check=True, capture_output=True)
    sign = "openssl req -x509 -subj /CN=localhost -days 1 -key"
    command = [*sign.split(), str(files.key), "-out", str(files.certificate)]
    subprocess.run(command, check=True, capture_output=True)
    assert "a key must be ECDSA on P-256 or P-384, or RSA of at least 2048 bits" in refusal(files)


def test_a_certificate_before_and_after_its_time(authority: Authority, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    expired = authority.issue(starts=now - DAY, valid=DAY / 2).write(tmp_path)
    assert re.match(
        r"server.pem: the certificate of CN=server expired on [-\d]+ [:\d]+ UTC; it is now .* UTC: "
        r"renew it$",
        refusal(TlsFiles(*expired)),
    )
    early = authority.issue(starts=now + DAY).write(tmp_path)
    assert "server.pem: the certificate of CN=server is valid only from " in refusal(
        TlsFiles(*early)
    )


def test_authorities_of_which_one_is_valid(
    files: TlsFiles, authority: Authority, tmp_path: Path
) -> None:
    old = authority.issue(valid=DAY / 2).certificate
    client_ca = tmp_path / "clients.pem"
    client_ca.write_bytes(old + authority.certificate)
    load(files._replace(client_ca=client_ca))
    client_ca.write_bytes(old)
    assert "clients.pem: the certificate of CN=server expired" in refusal(
        files._replace(client_ca=client_ca)
    )


# The kind of key (ecPublicKey), its curve (P-256), and a name in UTF-8: each becomes one that
# nobody knows. The certificate is still one, which shows only when these are asked for.
@pytest.mark.parametrize(
    ("known", "unknown"),
    [
        ("2a8648ce3d0201", "2a8648ce3d0209"),
        ("2a8648ce3d030107", "2a8648ce3d030163"),
        (b"server".hex(), b"\xff\xfe\xfd\xfc\xfb\xfa".hex()),
    ],
)
def test_a_certificate_of_which_a_part_cannot_be_read(
    known: str, unknown: str, files: TlsFiles
) -> None:
    der = ssl.PEM_cert_to_DER_cert(files.certificate.read_text())
    edited = der.replace(bytes.fromhex(known), bytes.fromhex(unknown))
    assert edited != der
    files.certificate.write_text(ssl.DER_cert_to_PEM_cert(edited))
    assert refusal(files).startswith("server.pem:1: this is no certificate: ")


def test_a_pipe_is_not_waited_for(files: TlsFiles) -> None:
    files.key.unlink()
    os.mkfifo(files.key)
    assert refusal(files) == "server.key is not a file"
