"""The name in a client's certificate, which TLS has verified before anybody can ask.

It is the common name; without one, the first of the alternative names: a URI (SPIFFE's, say), a
host, or an address of e-mail.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

# What names are called by Python's TLS, and by gRPC, in the order in which they are looked for.
PYTHON_KINDS = "URI", "DNS", "email"
GRPC_KINDS = "x509_common_name", "peer_uri", "peer_dns", "peer_email"


class Transport(Protocol):
    """What carries a connection of HTTP."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of it."""


def http_name(transport: Transport) -> str | None:
    """Return the name of a connection's client, None if the server asks for no certificates."""
    tls = transport.get_extra_info("ssl_object")
    certificate: Mapping[str, Any] = (tls and tls.getpeercert()) or {}
    names = [pair for part in certificate.get("subject", ()) for pair in part]
    names = [name for kind, name in names if kind == "commonName"]
    for wanted in PYTHON_KINDS:
        names += [name for kind, name in certificate.get("subjectAltName", ()) if kind == wanted]
    return next(filter(None, names), None)


def grpc_name(auth_context: Mapping[str, Sequence[bytes]]) -> str | None:
    """Return the same of a call, given what gRPC knows of its peer."""
    names = (name for kind in GRPC_KINDS for name in auth_context.get(kind, ()))
    return next((name.decode("utf-8", "backslashreplace") for name in names if name), None)
