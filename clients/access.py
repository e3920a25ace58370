"""What a client shows so that a server lets it in: a token, a certificate, or both."""

import os
from pathlib import Path
from typing import NamedTuple

import grpc

from clients import proxies

Metadata = tuple[tuple[str, str | bytes], ...]

VARIABLE = "CLIENTS_TOKEN"
HINT = f" (token=…; on the command line, --token-file or the variable {VARIABLE})"


class Tls(NamedTuple):
    """How a server is spoken to over TLS; all files are PEM.

    `ca` holds the authorities that may have signed the server's certificate; None: gRPC's own list.
    `certificate` and `key` are the client's, for a server that asks for one.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


class Shown(NamedTuple):
    """What a client shows: the metadata of each call, and the credentials of its channel.

    Without TLS there are no credentials.
    """

    metadata: Metadata = ()
    credentials: grpc.ChannelCredentials | None = None


def credentials(tls: Tls) -> grpc.ChannelCredentials:
    """Return what a channel over TLS is opened with.

    Raises:
        ValueError: a certificate without its key, or the reverse.
        OSError: a file cannot be read.
    """
    if bool(tls.certificate) != bool(tls.key):
        raise ValueError("a client's certificate and its key go together")
    ca, certificate, key = (path.read_bytes() if path else None for path in tls)
    return grpc.ssl_channel_credentials(ca, key, certificate)


def metadata(address: str, token: str | None, tls: Tls | None) -> Metadata:
    """Return the metadata of each call.

    Raises:
        ValueError: the token is no text that a header may hold; or it would be sent in the clear to
            another machine.
    """
    if token is None:
        return ()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(  # without the token
            "the token is empty, or has a character that no token has: a space, or the end of a "
            "line in its midst?"
        )
    if not tls and not proxies.is_local(address):
        raise ValueError(
            f"the token would be sent to {address} in the clear, and whoever reads it on the way "
            f"could use it: speak TLS to the server"
        )
    return (("authorization", f"Bearer {token}"),)


def find_token(path: Path | None) -> str | None:
    """Return the token in a file, or else in the environment's `CLIENTS_TOKEN`; None without one.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no text, or a server's file of digests.
    """
    if path:
        try:
            token = path.read_text("ascii").strip()
        except UnicodeDecodeError:
            raise ValueError(f"{path} holds no token, but what is no ASCII text") from None
        if "sha256:" in token:  # both programs have a flag of this name
            raise ValueError(
                f"{path} is the token file of a server, which holds digests: give a file with the "
                f"token that `python -m serving token` has printed"
            )
        return token
    return os.environ.get(VARIABLE, "").strip() or None
