"""Binds a port, or says why that cannot be."""

import socket

from serving.errors import StartupError


def listen(host: str, port: int, protocol: str, flag: str) -> socket.socket:
    """Return a socket that listens on an address; port 0 takes a free one.

    Args:
        host: the address, or a name of it.
        port: its port.
        protocol: what is spoken there, for the message.
        flag: the setting that chooses the port, for the message.

    Raises:
        StartupError: the port is taken or not permitted, or the address is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # As gRPC does: `::` is every interface, those of IPv4 too.
        return socket.create_server((host, port), family=family, dualstack_ipv6=host == "::")
    except (OSError, UnicodeError) as error:
        # Python appends the address to the system's words.
        reason = (getattr(error, "strerror", None) or str(error)).partition(" (while")[0]
        raise StartupError(
            f"cannot listen on {host}:{port} for {protocol}: {reason}; choose others with {flag} "
            f"and --host"
        ) from error
