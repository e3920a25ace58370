"""HTTP proxies, which gRPC takes from the environment: none on the way to this machine itself."""

import os
from ipaddress import ip_address
from urllib.parse import urlsplit

# Those that gRPC reads; the first one that is set counts.
VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
SCHEMES, SOCKETS = ("dns", "ipv4", "ipv6"), ("unix", "unix-abstract")


def options(address: str) -> list[tuple[str, int]]:
    """Return the options of a channel to this address."""
    return [("grpc.enable_http_proxy", 0)] if is_local(address) else []


def hint(address: str) -> str:
    """Return what to add to the message of a failure to reach a server; it may be nothing."""
    found = next((name for name in VARIABLES if os.environ.get(name)), None)
    if found is None or is_local(address):
        return ""
    return f"; {found} is set, so gRPC goes through that proxy unless no_proxy names the host"


def is_local(address: str) -> bool:
    """Whether a gRPC address is only of this machine: loopback, unspecified, or a Unix socket."""
    if address.partition(":")[0] in SOCKETS:
        return True
    return all(map(_is_local_host, _hosts(address)))


def is_localhost(address: str) -> bool:
    """Whether a gRPC address is that name, which stands for one server by IPv4 and IPv6."""
    return _hosts(address) == ["localhost"]


def _is_local_host(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None) or found
    return bool(mapped.is_loopback or mapped.is_unspecified)


def _hosts(address: str) -> list[str]:
    """Return the hosts that an address names; `ipv4:` and `ipv6:` may be followed by several."""
    scheme, _, rest = address.partition(":")
    if scheme in SCHEMES:
        address = rest.rpartition("/")[2]  # dns://server/host:port
    return [_host(one) for one in address.split(",")]


def _host(address: str) -> str:
    if address.count(":") > 1 and not address.startswith("["):
        return address  # IPv6 without a port
    try:
        return (urlsplit(f"//{address}").hostname or "").removesuffix(".")
    except ValueError:
        return ""
