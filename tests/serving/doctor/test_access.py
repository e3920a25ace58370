"""Certificates and tokens: what is wrong today, and what will be."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.access.tokens import line, new_token
from serving.doctor.finding import Finding
from tests.serving.doctor.conftest import Checked
from tests.support.certificates import DAY, Authority

YEAR = DAY * 365
Examined = Callable[..., list[Finding]]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def examined(authority: Authority, tmp_path: Path, checked: Checked) -> Examined:
    """Check a server with a certificate; `rest` follows it in its file."""

    def examine(rest: bytes = b"", host: str = "127.0.0.1", **issued: object) -> list[Finding]:
        pair = authority.issue(**{"valid": YEAR, **issued})  # type: ignore[arg-type]
        certificate, key = pair.write(tmp_path)
        certificate.write_bytes(pair.certificate + rest)
        key.chmod(0o600)
        return checked("certificates", host=host, tls_cert=certificate, tls_key=key, insecure=True)

    return examine


def test_without_tls_there_is_nothing_to_check(checked: Checked) -> None:
    assert [finding.status for finding in checked("certificates")] == ["ok"]


def test_a_good_certificate_is_told_with_its_names_and_its_end(examined: Examined) -> None:
    [finding] = examined()
    assert finding.status == "ok"
    assert "server.pem is for localhost, 127.0.0.1, ::1 until 20" in finding.found


def test_one_that_has_expired_fails(examined: Examined) -> None:
    [finding] = examined(valid=DAY / 2)
    assert finding.status == "fail"
    assert "server.pem: the certificate of CN=server expired on" in finding.found
    assert finding.advice


def test_one_that_expires_soon_is_warned_of(examined: Examined) -> None:
    assert [finding.status for finding in examined(valid=DAY * 31 + DAY / 2)] == ["ok"]
    [finding] = examined(valid=DAY * 30 + DAY / 2)
    assert finding.status == "warn"
    assert "certificate 1 of " in finding.found
    assert finding.found.endswith(", in 29 days")


def test_a_key_of_another_certificate_fails(
    authority: Authority, tmp_path: Path, checked: Checked
) -> None:
    certificate, _ = authority.issue().write(tmp_path)
    _, key = authority.issue().write(tmp_path, "other")
    [finding] = checked("certificates", tls_cert=certificate, tls_key=key)
    assert finding.status == "fail"
    assert "is not that of the certificate" in finding.found


def test_issuers_that_did_not_issue_it_are_warned_of_and_expired_ones_fail(
    examined: Examined, authority: Authority
) -> None:
    [soon] = examined(rest=authority.certificate)  # of three days
    assert "certificate 2 of " in soon.found
    *_, finding = examined(rest=Authority("stranger").certificate)
    assert finding.status == "warn"
    assert "certificate 1 (CN=server) was not issued by the one that follows it" in finding.found
    expired = authority.issue("intermediate", valid=DAY / 2).certificate
    first, *_ = examined(rest=expired)
    assert first.status == "fail"
    assert "(CN=intermediate) expired on" in first.found


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("0.0.0.0", "ok"),
        ("::1", "ok"),
        ("10.0.0.7", "ok"),
        ("10.0.0.8", "warn"),
        ("a.example.com", "ok"),
        ("B.Example.com", "ok"),
        ("c.b.example.com", "warn"),
        ("example.com", "warn"),
    ],
)
def test_the_names_cover_the_address_that_clients_may_use(
    host: str, status: str, examined: Examined
) -> None:
    [finding] = examined(host=host, names=["a.example.com", "*.example.com", "10.0.0.7"])
    assert finding.status == status
    if status == "warn":
        assert f"not for --host {host}: clients that call by that will refuse it" in finding.found


def test_one_without_names_fails(examined: Examined) -> None:
    [finding] = examined(names=[])
    assert finding.status == "fail"
    assert "subjectAltName" in finding.found


def test_one_that_is_not_for_servers_fails(tmp_path: Path, checked: Checked) -> None:
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    made = "req -x509 -newkey rsa:2048 -nodes -subj /CN=me -days 365 -addext subjectAltName=DNS:me"
    files = [
        "-addext",
        "extendedKeyUsage=clientAuth",
        "-out",
        str(certificate),
        "-keyout",
        str(key),
    ]
    subprocess.run(["openssl", *made.split(), *files], check=True, capture_output=True)
    [finding] = checked("certificates", tls_cert=certificate, tls_key=key)
    assert finding.status == "fail"
    assert "is not for servers" in finding.found


def test_a_key_that_anybody_may_read_is_warned_of(
    authority: Authority, tmp_path: Path, checked: Checked
) -> None:
    certificate, key = authority.issue(valid=YEAR).write(tmp_path)
    key.chmod(0o644)
    [finding] = checked("certificates", tls_cert=certificate, tls_key=key)
    assert (finding.status, finding.advice) == ("warn", f"chmod 600 {key}")


def test_authorities_of_clients_that_expire_soon_are_warned_of(
    authority: Authority, tmp_path: Path, checked: Checked
) -> None:
    certificate, key = authority.issue(valid=YEAR).write(tmp_path)
    key.chmod(0o600)
    clients = tmp_path / "clients.pem"
    clients.write_bytes(authority.certificate)  # of three days
    files = {"tls_cert": certificate, "tls_key": key, "tls_client_ca": clients}
    [finding] = checked("certificates", **files)
    assert finding.status == "warn"
    assert f"the authorities in {clients} have expired by" in finding.found
    clients.write_bytes(authority.certificate + authority.issue(valid=YEAR).certificate)
    assert [finding.status for finding in checked("certificates", **files)] == ["ok"]


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A token file with a caller, and one who may do everything."""
    path = tmp_path / "tokens"
    path.write_text(f"{line('a', new_token(), 'read')}\n{line('b', new_token(), 'admin')}\n")
    path.chmod(0o600)
    return path


def test_a_token_file_is_counted(tokens: Path, checked: Checked) -> None:
    local, told = checked("access", token_file=tokens)
    assert (local.status, local.found) == ("ok", "only this machine reaches 127.0.0.1")
    assert told.status == "ok"
    assert told.found == (
        f"{tokens} knows 2 tokens and 0 certificates: 1 may classify, 2 may read, 1 may admin"
    )


def test_what_the_token_file_lacks_is_warned_of(tokens: Path, checked: Checked) -> None:
    tokens.write_text(f"{line('a', new_token(), 'read')}\ncert:b read\n")
    tokens.chmod(0o604)
    _, mode, certificates, nobody, _ = checked("access", token_file=tokens)
    assert {finding.status for finding in (mode, certificates, nobody)} == {"warn"}
    assert mode.advice == f"chmod 600 {tokens}"
    assert "client certificates, which nobody can show" in certificates.found
    assert nobody.found == f"nobody in {tokens} may classify"


@pytest.mark.parametrize(
    ("settings", "status", "found"),
    [
        ({}, "warn", "whoever reaches 0.0.0.0 may call"),
        ({"token_file": "t"}, "warn", "in the clear"),
        ({"token_file": "t", "tls_cert": "c", "tls_key": "k"}, "ok", "over TLS"),
    ],
)
def test_who_reaches_the_server_is_told(
    settings: dict[str, object], status: str, found: str, tokens: Path, checked: Checked
) -> None:
    if "token_file" in settings:
        settings = settings | {"token_file": tokens}
    first, *_ = checked("access", host="0.0.0.0", insecure=True, **settings)
    assert first.status == status
    assert found in first.found
