"""How a channel to a server, or to several, is set."""

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from clients import proxies
from clients.messages import MAX_MESSAGE_BYTES
from clients.methods import SERVICE

Result = TypeVar("Result")

# A connection that answers no ping within their sum is given up: a machine that has vanished would
# else get its share of the calls for many minutes. Pings go out only while calls wait.
KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS = 20_000, 10_000
# A client without a call for that long, or up to twice as long, closes its connections, and opens
# others when it has one. If the server did it, after a minute, each would be opened again at once.
IDLE_MS = 30_000

# Classifying changes nothing on the server, so it is safe to repeat a request that the server did
# not accept. The server says how long to wait (grpc-retry-pushback-ms). CANCELLED, which no caller
# here has asked for then, is what gRPC makes of a call that meets the last moment of a server.
_RETRY = {
    "name": [{"service": SERVICE}],
    "retryPolicy": {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"],
    },
}


def options(address: str, connections: int = 1) -> list[tuple[str, int | str]]:
    """Return the options of a channel to this address, one of so many of a client.

    A name may stand for several servers, as that of a headless service does: calls go to each in
    turn, and to the others when one goes. Only `localhost` is one server with two addresses.

    Raises ValueError if there is no connection.
    """
    if connections < 1:
        raise ValueError(f"connections must be at least 1, not {connections}")
    balancing = "pick_first" if proxies.is_localhost(address) else "round_robin"
    service_config = {"loadBalancingConfig": [{balancing: {}}], "methodConfig": [_RETRY]}
    return [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.service_config", json.dumps(service_config)),
        # gRPC does not repeat a request that is larger than this buffer; its default is 256 KiB.
        ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        # Of gRPC's own pings, behind which those wait; its default is a minute.
        ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.client_idle_timeout_ms", IDLE_MS),
        # Else channels of one process to one address share a connection.
        *([("grpc.use_local_subchannel_pool", 1)] if connections > 1 else []),
        *proxies.options(address),
    ]


def in_turn(calls: Sequence[Callable[..., Result]]) -> Callable[..., Result]:
    """Return what calls one after the other of these, from any thread."""
    if len(calls) == 1:
        return calls[0]
    turns = itertools.cycle(calls)  # its next step is one step of the interpreter

    def call(*arguments: Any, **named: Any) -> Result:
        return next(turns)(*arguments, **named)

    return call
