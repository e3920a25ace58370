"""How strangers are kept from reading and calling, and when they may."""

from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, CliToggleFlag


class TlsFiles(NamedTuple):
    """Where the certificate, its key, and the authorities of clients are, all PEM."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


class TlsSettings(BaseSettings):
    """Certificates, of the server and of its clients."""

    tls_cert: Path | None = Field(
        None,
        description="certificate for gRPC and HTTP, PEM, followed by those of its issuers; a new "
        "one is taken while the server runs",
    )
    tls_key: Path | None = Field(None, description="its private key, PEM, not encrypted")
    tls_client_ca: Path | None = Field(
        None,
        description="certificates of authorities, PEM; only clients with a certificate of theirs "
        "may then connect, to either port",
    )
    insecure: CliToggleFlag[bool] = Field(
        default=False,
        description="let whoever reaches an address beyond this machine read and call",
    )

    @property
    def tls_files(self) -> TlsFiles | None:
        """The files of TLS, None without it."""
        if not (self.tls_cert and self.tls_key):
            return None
        return TlsFiles(self.tls_cert, self.tls_key, self.tls_client_ca)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if bool(self.tls_cert) != bool(self.tls_key):
            given, other = ("cert", "key") if self.tls_cert else ("key", "cert")
            raise ValueError(f"--tls-{given} needs --tls-{other}: TLS has a certificate and a key")
        if self.tls_client_ca and not self.tls_cert:
            raise ValueError(
                "--tls-client-ca needs --tls-cert and --tls-key: clients show certificates only to "
                "a server that has one"
            )
        return self


def is_local(host: str) -> bool:
    """Whether only this machine reaches an address; names but `localhost` may be any."""
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"
