"""The server's certificate, its key, and the authorities of its clients, read and checked."""

import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from bundle.small_file import NotAFileError, read_small
from serving.settings.tls import TlsFiles

# The largest file that is read: that of all public authorities has 220 KB.
MOST_BYTES = 2**20
# What gRPC's TLS, in servers and clients, signs with.
CURVES = "secp256r1", "secp384r1"
LEAST_RSA_BITS = 2048
# Of TLS 1.2, as gRPC's own; those of TLS 1.3 are all good.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
BLOCK = re.compile(
    rb"^-----BEGIN ([A-Z0-9 ]+)-----\s*$.*?^-----END \1-----\s*$", re.MULTILINE | re.DOTALL
)


class CertificateError(Exception):
    """Files that make no TLS server; the message names the file, and what would be right."""


@dataclass(frozen=True)
class ServerCertificate:
    """A certificate that has proved right, with what belongs to it.

    Attributes:
        chain: the server's certificate and those of its issuers, PEM.
        key: its private key, PEM.
        client_ca: the authorities of clients, PEM; None if clients need no certificate.
        context: the same for Python's TLS.
        serial: the number that the server's certificate has from its issuer.
        expires: when it is no longer valid.
    """

    chain: bytes
    key: bytes
    client_ca: bytes | None
    context: ssl.SSLContext
    serial: int
    expires: datetime


def load(files: TlsFiles, now: datetime | None = None) -> ServerCertificate:
    """Read and check the files; raise `CertificateError`.

    Args:
        files: where they are.
        now: the time by which certificates must be valid; None: this moment.
    """
    now = now or datetime.now(UTC)
    chain, key, *rest = contents = _contents(files)
    certificates = _certificates(files.certificate, chain)
    _check_pair(files, certificates, _private_key(files.key, key))
    _check_dates(files.certificate, certificates[0], now)
    if rest and files.client_ca:
        _check_authorities(files.client_ca, rest[0], now)
    context = _context(files, *rest)
    # Python's TLS reads the files by itself: it must have found what was checked.
    if _contents(files) != contents:
        raise CertificateError(f"{files.certificate} or {files.key} changed while it was read")
    client_ca = rest[0] if rest else None
    own = certificates[0]
    return ServerCertificate(
        chain, key, client_ca, context, own.serial_number, own.not_valid_after_utc
    )


def _contents(files: TlsFiles) -> list[bytes]:
    return [_read(path) for path in files if path]


def _read(path: Path) -> bytes:
    try:
        content = read_small(path, MOST_BYTES)
    except NotAFileError as error:
        raise CertificateError(str(error)) from None
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > MOST_BYTES:
        raise CertificateError(f"{path} is larger than {MOST_BYTES} bytes; is it a PEM file?")
    return content


def _blocks(path: Path, content: bytes, wanted: str) -> list[tuple[int, bytes]]:
    """Return the PEM blocks whose names end with `wanted`, and in which line each begins."""
    blocks = [(match[1].decode(), match) for match in BLOCK.finditer(content)]
    found = [
        (content.count(b"\n", 0, match.start()) + 1, match[0])
        for name, match in blocks
        if name.endswith(wanted)
    ]
    if not found:
        held = ", ".join(sorted({name for name, _ in blocks})) or "nothing that is PEM and whole"
        raise CertificateError(f"{path} must hold a {wanted} in PEM; it holds {held}")
    return found


def _certificates(path: Path, content: bytes) -> list[x509.Certificate]:
    certificates = []
    for line, block in _blocks(path, content, "CERTIFICATE"):
        try:
            certificate = x509.load_pem_x509_certificate(block)
            # These are read from it only when they are asked for.
            certificate.public_key(), subject(certificate)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise CertificateError(f"{path}:{line}: this is no certificate: {error}") from error
        certificates.append(certificate)
    return certificates


def _private_key(path: Path, content: bytes) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    [(line, block), *_] = _blocks(path, content, "PRIVATE KEY")
    try:
        key = serialization.load_pem_private_key(block, password=None)
    except TypeError as error:
        raise CertificateError(
            f"{path}:{line}: the key is encrypted, and nobody is there to give the password: "
            f"`openssl pkey -in {path}` writes it without one; protect the file by its mode"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"{path}:{line}: this is no private key: {error}") from error
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        return key
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= LEAST_RSA_BITS:
        return key
    raise CertificateError(
        f"{path}:{line}: a key must be ECDSA on P-256 or P-384, or RSA of at least "
        f"{LEAST_RSA_BITS} bits: other ones are unknown to gRPC or too weak"
    )


def _check_pair(
    files: TlsFiles,
    certificates: Sequence[x509.Certificate],
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
) -> None:
    fits = [certificate.public_key() == key.public_key() for certificate in certificates]
    if fits[0]:
        return
    if any(fits):
        raise CertificateError(
            f"{files.certificate}: the key in {files.key} is that of certificate "
            f"{fits.index(True) + 1}, which must be the first; those of its issuers follow"
        )
    raise CertificateError(
        f"the key in {files.key} is not that of the certificate in {files.certificate} "
        f"({subject(certificates[0])}): one of them may be of another year or machine"
    )


def _check_dates(path: Path, certificate: x509.Certificate, now: datetime) -> None:
    if certificate.not_valid_after_utc < now:
        raise CertificateError(
            f"{path}: the certificate of {subject(certificate)} expired on "
            f"{moment(certificate.not_valid_after_utc)}; it is now {moment(now)}: renew it"
        )
    if certificate.not_valid_before_utc > now:
        raise CertificateError(
            f"{path}: the certificate of {subject(certificate)} is valid only from "
            f"{moment(certificate.not_valid_before_utc)} on; it is now {moment(now)}: check "
            f"the clock"
        )


def _check_authorities(path: Path, content: bytes, now: datetime) -> None:
    """Refuse a file of which no certificate is valid: one may be old beside its successor."""
    certificates = _certificates(path, content)
    if not any(c.not_valid_before_utc <= now <= c.not_valid_after_utc for c in certificates):
        _check_dates(path, certificates[0], now)


def _context(files: TlsFiles, client_ca: bytes | None = None) -> ssl.SSLContext:
    """Return a new context.

    Sessions of an older one, whose authorities may have been others, are not resumed in it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    _try(files.certificate, lambda: context.load_cert_chain(files.certificate, files.key, ""))
    if client_ca is not None and files.client_ca:
        text = client_ca.decode("ascii", "replace")
        _try(files.client_ca, lambda: context.load_verify_locations(cadata=text))
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _try(path: Path, load_into: Callable[[], None]) -> None:
    try:
        load_into()
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise CertificateError(f"{path}: TLS does not take it: {error}") from error


def subject(certificate: x509.Certificate) -> str:
    """Return whose it is, for a message."""
    return certificate.subject.rfc4514_string() or "no subject"


def moment(when: datetime) -> str:
    """Return a time, for a message."""
    return f"{when:%Y-%m-%d %H:%M} UTC"
