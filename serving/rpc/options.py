"""How gRPC itself is set: what it bounds before a call reaches this server."""

import math
import resource

from serving.rpc.bounds import Bounds

# Smallest time between two pings of a client to which nothing is sent. gRPC's own is 5 minutes:
# clients that look after a quiet stream every 10 s, as many do, would lose it.
PING_INTERVAL_MS = 5_000
# A connection without a call ends after this time; clients open another when they need it.
IDLE_MS = 60_000
# Files that a server opens besides its connections: models, logs, and the connections of HTTP.
OTHER_FILES = 256 + 1024
# A connection whose other end has vanished, or reads nothing, is noticed after their sum.
KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS = 60_000, 20_000
# From the connection to the first frames of HTTP/2.
HANDSHAKE_MS = 10_000
STREAMS_PER_CONNECTION = 256
# What gRPC reads of a call before anybody asks. It also is what a client sends without waiting for
# an answer: with 64 KB an image of 2.6 MB takes 200 ms instead of 75 when packets take 20 ms.
LOOKAHEAD_BYTES = 2**22
# Of a call's headers, counted as HTTP/2 does: names, values, and 32 bytes for each pair. gRPC's own
# rule is 8 KB, above which it refuses some calls by chance, and holds back the refusal for up to
# a second: 300 headers look as if they took 0.4 s.
METADATA_BYTES = 16 * 2**10
IDENTITY_ONLY = 1


def options(bounds: Bounds, *, shares_port: bool = False) -> list[tuple[str, int]]:
    """Return gRPC's options for the server, which may share its port with others of its kind."""
    # No bound for calls that are in flight by then: they would fail.
    is_ageless = bounds.age_s == math.inf
    age = [] if is_ageless else [("grpc.max_connection_age_ms", int(bounds.age_s * 1000))]
    return [
        *age,
        ("grpc.max_receive_message_length", bounds.message_bytes),
        ("grpc.max_send_message_length", bounds.message_bytes),
        (
            "grpc.so_reuseport",
            int(shares_port),
        ),  # else a second server would share the port unnoticed
        # gRPC inflates a message before anybody sees it: 32 KB may become 32 MB. Images are
        # compressed as they are.
        ("grpc.compression_enabled_algorithms_bitset", IDENTITY_ONLY),
        ("grpc.max_allowed_incoming_connections", _possible(bounds.connections)),
        ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION),
        # Else gRPC reads ahead as much as the network can carry, 60 MB of a stream that nobody
        # takes requests from.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", LOOKAHEAD_BYTES),
        ("grpc.max_connection_idle_ms", IDLE_MS),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
        ("grpc.max_metadata_size", METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES),
        ("grpc.http.tarpit", 0),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        # The client may ping this often, calls or none; one that goes on pinging faster is sent
        # away (GOAWAY, "too_many_pings").
        ("grpc.http2.min_ping_interval_without_data_ms", PING_INTERVAL_MS),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def _possible(connections: int) -> int:
    """Raise the limit of open files for so many connections; return how many it allows."""
    limit, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_FILES
    if wanted > limit != resource.RLIM_INFINITY:
        limit = wanted if highest == resource.RLIM_INFINITY else min(wanted, highest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, highest))
    return connections if limit == resource.RLIM_INFINITY else allowed(connections, limit)


def allowed(connections: int, files: int) -> int:
    """Return how many of the connections a process may have that may open so many files."""
    return min(connections, max(files - OTHER_FILES, files // 2))
