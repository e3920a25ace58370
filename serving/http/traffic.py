"""What strangers may hold of the HTTP port, all connections together."""

import asyncio
import math
import resource
import time
from collections import Counter
from dataclasses import dataclass
from enum import IntEnum
from http import HTTPStatus
from typing import Protocol

# How often connections are looked at that may take too long, in seconds.
SWEEP_S = 0.5
# What waits to be read by a client that keeps up, at most.
UNREAD_BYTES = 2**16
# What takes no longer costs no more than the network can carry in that time: it is not ended to
# make room for others.
SOON_S = 5.0


class Phase(IntEnum):
    """What a connection does."""

    IDLE = 0  # between requests, or before the first
    LEAVING = 1  # refused; what it still sends is thrown away
    RECEIVING = 2  # a request has begun to come
    WORKING = 3  # a request is being answered


@dataclass(frozen=True)
class HttpBounds:
    """What strangers may take.

    Attributes:
        body_bytes: size of the largest body of a request, as it comes and inflated.
        transfer_bytes: what bodies that wait to be answered may hold together; likewise answers
            that have been waiting to be read for longer than `SOON_S`.
        patience_s: time in which a request must be complete, and its answer be read, in seconds.
        connections: their largest number, if a quarter of the limit of open files is as many.
        idle_s: time without a request; longer than that of load balancers, which are to close
            first, in seconds.
        head_s: time in which the head of a request must be complete, in seconds.
        head_bytes: its size.
        linger_s: time for a client that was refused to read why, in seconds.
        pipelined: requests that may wait in a connection while another is answered.
        age_s: age from which on a connection closes with its next answer, in seconds.
    """

    body_bytes: int = 32 * 2**20
    transfer_bytes: int = 2**30
    patience_s: float = 30.0
    connections: int = 1024
    idle_s: float = 75.0
    head_s: float = 10.0
    head_bytes: int = 16 * 2**10
    linger_s: float = 2.0
    pipelined: int = 16
    age_s: float = math.inf


class Connection(Protocol):
    """A connection, as it is looked at from outside.

    Attributes:
        phase: what it does.
        since_s: since when, on the monotonic clock, in seconds.
        in_head: whether the head of a request is incomplete.
        held: bytes of bodies that have come, in part or whole, and wait to be answered.
    """

    phase: Phase
    since_s: float
    in_head: bool
    held: int

    @property
    def unread_bytes(self) -> int:
        """What waits to be read by the client."""

    def refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer the request that is coming with an error, and close."""

    def abort(self) -> None:
        """Close at once."""


class Traffic:
    """Ends connections that take too much or too long. Only the event loop calls.

    Args:
        bounds: what they may take.
        connections: those that are open; uvicorn's, which adds and removes its own.

    Attributes:
        most_connections: as many may be open.
        held: bytes of bodies that have come, in part or whole, and wait to be answered.
        closing: whether connections close with their next answer.
    """

    def __init__(self, bounds: HttpBounds, connections: set[Connection]) -> None:
        self.bounds = bounds
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        few_files = limit != resource.RLIM_INFINITY and limit // 4 < bounds.connections
        self.most_connections = limit // 4 if few_files else bounds.connections
        self.connections = connections
        self.held = 0
        self.closing = False
        # Since when more waits to be read than a client that keeps up lets wait.
        self._stalled: dict[Connection, float] = {}

    def enter(self, connection: Connection) -> None:
        """Take a new connection, at another's cost if there are too many."""
        self.connections.add(connection)
        if len(self.connections) > self.most_connections:
            loser = self.oldest(besides=connection)
            self.connections.discard(loser)  # it is lost only in the loop's next turn
            loser.abort()

    def leave(self, connection: Connection) -> None:
        """Forget a connection, unless that has been done."""
        self.connections.discard(connection)

    def is_last(self, made_s: float) -> bool:
        """Whether a connection that was made then closes with the answer that is next."""
        return self.closing or time.monotonic() - made_s > self.bounds.age_s

    def hold(self, nbytes: int) -> None:
        """Note that a part of a body has come; if that is too much, the oldest is refused."""
        self.held += nbytes
        while self.held > self.bounds.transfer_bytes:
            holding = (connection for connection in self.connections if connection.held)
            min(holding, key=lambda connection: connection.since_s).refuse(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "it is the oldest of too many requests that have not come whole "
                "(--max-transfer-bytes)",
            )

    def release(self, nbytes: int) -> None:
        """Note that a body is being answered, or given up."""
        self.held -= nbytes

    def oldest(self, besides: Connection) -> Connection:
        """Return the connection that gives way to a new one.

        One that is being answered is taken last. Of those that are idle and those that receive, the
        more go first: a flood of either kind must leave time to one that has just been opened.
        """
        others = [connection for connection in self.connections if connection is not besides]
        phases = Counter(connection.phase for connection in others)
        spared = min(Phase.RECEIVING, Phase.IDLE, key=phases.__getitem__)
        rank = {phase: (phase is Phase.WORKING, phase is spared) for phase in Phase}
        return min(others, key=lambda connection: (rank[connection.phase], connection.since_s))

    async def watch(self) -> None:
        """End what takes too long, until cancelled."""
        while True:
            await asyncio.sleep(min(SWEEP_S, self.bounds.patience_s, self.bounds.idle_s))
            self.sweep(time.monotonic())

    def sweep(self, now: float) -> None:
        """End what takes too long."""
        for connection in [*self.connections]:
            self._end_if_late(connection, now - connection.since_s)
        self._end_unread(now)

    def _end_if_late(self, connection: Connection, took_s: float) -> None:
        bounds = self.bounds
        match connection.phase:
            case Phase.IDLE if took_s > bounds.idle_s:
                connection.abort()
            case Phase.LEAVING if took_s > bounds.linger_s:
                connection.abort()
            case Phase.RECEIVING if connection.in_head and took_s > bounds.head_s:
                connection.refuse(
                    HTTPStatus.REQUEST_TIMEOUT,
                    f"the head of the request takes longer than {bounds.head_s:g} s",
                )
            case Phase.RECEIVING if took_s > bounds.patience_s:
                connection.refuse(
                    HTTPStatus.REQUEST_TIMEOUT,
                    f"the request has not come whole within {bounds.patience_s:g} s "
                    f"(--default-timeout-ms)",
                )

    def _end_unread(self, now: float) -> None:
        """End those whose clients do not read: after a time, or the oldest if they hold much."""
        soon_s = min(SOON_S, self.bounds.patience_s)
        unread = {each: each.unread_bytes for each in self.connections}
        self._stalled = {
            each: self._stalled.get(each, now)
            for each, nbytes in unread.items()
            if nbytes > UNREAD_BYTES
        }
        late = [
            (each, now - since) for each, since in self._stalled.items() if now - since > soon_s
        ]
        held = sum(unread[connection] for connection, _ in late)
        for connection, took_s in sorted(late, key=lambda each: -each[1]):
            if took_s > self.bounds.patience_s or held > self.bounds.transfer_bytes:
                held -= unread[connection]
                connection.abort()
