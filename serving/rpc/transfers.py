"""Calls whose message is still on its way, and what ends those that take too long."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from serving.rpc.call import RpcCall

# Messages that take no longer cost no more than the network can carry in that time. They are never
# ended, however many: gRPC's thread may have much to do.
SOON_S = 5.0


End = Callable[["RpcCall", grpc.StatusCode, str], None]


class Transfers:
    """Messages in one direction, whose other end may stall for ever.

    A message ends its call if it takes longer than `patience_s`, or if it is the oldest when those
    that take longer than `SOON_S` hold more than `most_bytes`. So fast callers lose nothing,
    however many slow ones there are.

    Methods may be called on any thread. There is no lock: each is one step of a dict.

    Args:
        patience_s: longest time of a message, in seconds.
        most_bytes: bound of their sum.
        end: ends a call; is told why.
    """

    def __init__(self, patience_s: float, most_bytes: int, end: End) -> None:
        self._patience_s, self._most_bytes, self._end = patience_s, most_bytes, end
        # Since when, in seconds, and their bytes; oldest first.
        self._transfers: dict[RpcCall, tuple[float, int]] = {}

    def begin(self, call: "RpcCall", nbytes: int) -> None:
        """Note that a call's message begins; `nbytes` is what it may hold in memory."""
        self._transfers[call] = time.monotonic(), nbytes

    def over(self, call: "RpcCall") -> int:
        """Note that nothing of it is on its way any more; return its `nbytes`, 0 if none was."""
        transfer = self._transfers.pop(call, None)
        return transfer[1] if transfer else 0

    def sweep(self) -> None:
        """End the calls of messages that take too long."""
        now = time.monotonic()
        slow = [
            (call, since_s, nbytes)
            for call, (since_s, nbytes) in self._transfers.copy().items()
            if now - since_s > SOON_S
        ]
        held = sum(nbytes for *_, nbytes in slow)
        for call, since_s, nbytes in slow:
            if now - since_s > self._patience_s:
                code = grpc.StatusCode.DEADLINE_EXCEEDED
                reason = f"it takes longer than {self._patience_s:g} s (--default-timeout-ms)"
            elif held > self._most_bytes:
                code = grpc.StatusCode.RESOURCE_EXHAUSTED
                reason = "it is the slowest of too many at once (--max-transfer-bytes)"
            else:
                continue
            held -= nbytes
            if self._transfers.pop(call, None):  # else it has come, or gone, meanwhile
                self._end(call, code, reason)
