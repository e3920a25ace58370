"""Calls that stay open for as long as their caller likes."""

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.rpc.call import RpcCall


class Streams:
    """The open streams, of which each may hold a part of a message that never becomes whole.

    A stream may be quiet for hours, and nobody can tell half a message from none. So their number
    is bounded. When all places are taken, a new stream gets that of the one that has been quiet for
    longest, if that is longer than `quiet_s`. Only gRPC's thread calls.

    Args:
        most: number of places.
        quiet_s: how long no stream loses its place, in seconds.
    """

    def __init__(self, most: int, quiet_s: float) -> None:
        self.most, self._quiet_s = most, quiet_s
        self._calls: dict[RpcCall, None] = {}

    def enter(self, call: "RpcCall") -> "RpcCall | None":
        """Add a stream; return the one that must give way, which is itself if no other is quiet."""
        if len(self._calls) < self.most:
            self._calls[call] = None
            return None
        quietest = min(self._calls, key=lambda other: other.active_s)
        if time.monotonic() - quietest.active_s <= self._quiet_s:
            return call
        del self._calls[quietest]
        self._calls[call] = None
        return quietest

    def leave(self, call: "RpcCall") -> None:
        """Remove a stream, if it is one and has a place."""
        self._calls.pop(call, None)
