"""What strangers may take of the gRPC port."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """What callers may take of the server before anybody looks into their messages.

    Attributes:
        message_bytes: size of the largest message, which gRPC's options bound.
        request_bytes: size of the largest request of a method that is not given bytes.
        patience_s: time that a request may take from the arrival of its call, and an answer until
            its caller has taken it, in seconds.
        transfer_bytes: what requests, or answers, that take longer than `SOON_S` may hold.
        streams: how many calls with a stream of requests are open.
        watches: how many calls with a stream of responses only.
        connections: how many there are, if the limit of open files allows as many.
        age_s: age at which a connection is to end, in seconds.
    """

    message_bytes: int = 32 * 2**20
    request_bytes: int = 32 * 2**20
    patience_s: float = 30.0
    transfer_bytes: int = 2**30
    streams: int = 32
    watches: int = 1024
    connections: int = 10_000
    age_s: float = math.inf


BOUNDS = Bounds()
