"""Certificates of authorities that live as long as a test."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAMES = "localhost", "127.0.0.1", "::1"
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, both PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str = "server") -> tuple[Path, Path]:
        """Write `name.pem` and `name.key` to a folder; return their paths."""
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(self.certificate)
        key.write_bytes(self.key)
        return certificate, key

    @property
    def serial(self) -> int:
        """The number that its authority gave it."""
        return x509.load_pem_x509_certificate(self.certificate).serial_number


class Authority:
    """Signs certificates; `certificate` is its own, PEM."""

    def __init__(self, name: str = "authority") -> None:
        self._name = _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(name, self._key, datetime.now(UTC) - DAY, DAY * 3)
        basic = x509.BasicConstraints(ca=True, path_length=None)
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True,
            content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        builder = builder.add_extension(basic, critical=True).add_extension(usage, critical=True)
        self.certificate = _pem(builder.sign(self._key, hashes.SHA256()))

    def issue(
        self,
        name: str = "server",
        names: Sequence[str] = NAMES,
        *,
        starts: datetime | None = None,
        valid: timedelta = DAY * 2,
        password: bytes | None = None,
    ) -> Pair:
        """Return a certificate for servers and clients, with its key.

        Args:
            name: its subject's common name.
            names: its alternative names, of hosts or addresses.
            starts: when it becomes valid; None: a day ago.
            valid: for how long.
            password: of its key; None: the key is not encrypted.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(name, key, starts or datetime.now(UTC) - DAY, valid)
        if names:
            alternative = x509.SubjectAlternativeName([*map(_alternative, names)])
            builder = builder.add_extension(alternative, critical=False)
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        encryption: serialization.KeySerializationEncryption = (
            serialization.BestAvailableEncryption(password)
            if password
            else serialization.NoEncryption()
        )
        form = serialization.PrivateFormat.PKCS8
        pem = key.private_bytes(serialization.Encoding.PEM, form, encryption)
        return Pair(_pem(builder.sign(self._key, hashes.SHA256())), pem)

    def _builder(
        self, name: str, key: ec.EllipticCurvePrivateKey, starts: datetime, valid: timedelta
    ) -> x509.CertificateBuilder:
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name) if name else x509.Name([]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(starts)
            .not_valid_after(starts + valid)
            .add_extension(identifier, critical=False)
            .add_extension(issuer, critical=False)
        )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    if ":" in name:
        return x509.UniformResourceIdentifier(name)
    return x509.DNSName(name)
