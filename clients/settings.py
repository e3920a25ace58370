"""Which server a command asks, and what it shows to be let in."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field
from pydantic_settings import BaseSettings, CliToggleFlag

from cli.program import UsageError

if TYPE_CHECKING:
    from clients.access import Shown, Tls
    from clients.client import ClassifierClient


class ServerSettings(BaseSettings):
    """A server, and the way to it."""

    address: str = Field("localhost:50051", description="host:port of the server")
    token_file: Path | None = Field(
        None,
        description="file with the token for a server that asks for one; unset: the environment's "
        "CLIENTS_TOKEN",
    )
    tls: CliToggleFlag[bool] = Field(
        default=False, description="speak TLS, and trust the authorities that gRPC knows"
    )
    tls_ca: Path | None = Field(
        None, description="speak TLS, and trust only these authorities instead, PEM"
    )
    tls_cert: Path | None = Field(
        None, description="speak TLS, and show this certificate, PEM, to a server that asks for it"
    )
    tls_key: Path | None = Field(None, description="its private key, PEM")

    def connect(self, *, ray: bool = False) -> "ClassifierClient":
        """Return a client of the server; raise `UsageError` if a file is not what it should be.

        `ray` is the client's.
        """
        from clients.access import find_token
        from clients.client import ClassifierClient

        with _usage_errors():
            token = find_token(self.token_file)
            return ClassifierClient(self.address, token=token, tls=self._tls(), ray=ray)

    def shown(self, address: str) -> "Shown":
        """Return what to show to the server at an address; raise `UsageError` likewise."""
        from clients.access import Shown, credentials, find_token, metadata

        with _usage_errors():
            tls = self._tls()
            of_calls = metadata(address, find_token(self.token_file), tls)
            return Shown(of_calls, credentials(tls) if tls else None)

    def _tls(self) -> "Tls | None":
        from clients.access import Tls

        files = Tls(self.tls_ca, self.tls_cert, self.tls_key)
        return files if self.tls or any(files) else None


@contextmanager
def _usage_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{error} (see --tls and --token-file)") from error
