"""What the API needs of a gRPC call."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Never, Protocol

import grpc

from serving.access.identity import Identity
from serving.record.record import Record

Metadata = Sequence[tuple[str, str]]


class Call(Protocol):
    """One call: its deadline and the ways to answer it, as `serving.rpc` implements them.

    `run`, `post`, `finish` and `fail` may be called on any thread, the others on the event loop.

    Attributes:
        arrived_s: when its headers came, on the monotonic clock, in seconds.
        deadline_s: the caller's deadline on that clock, None if there is none.
        identity: who calls, None if nobody was asked.
        on_leave: called on gRPC's thread when the caller leaves, unless None; must not block.
        request_id: the caller's, or ours.
        record: what becomes of the call; None if nobody wants to know.
    """

    arrived_s: float
    deadline_s: float | None
    identity: Identity | None
    request_id: str
    record: Record | None
    on_leave: Callable[[], None] | None

    @property
    def caller(self) -> str:
        """Whose call it is, as far as anybody knows: a name, or else an address."""

    async def write(self, response: Any) -> None:
        """Send a response of a stream; return when the next may follow.

        Raises CancelledError if the call has its status, or the caller has left.
        """

    def finish(self, *responses: Any) -> None:
        """End the call with OK and its only response, if it has one, unless it has ended."""

    def fail(self, code: grpc.StatusCode, details: str, metadata: Metadata = ()) -> None:
        """End the call with an error, unless it has ended."""

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> Never:
        """End the call with an error, and its handler."""

    def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine on the event loop; it is cancelled when the caller leaves."""

    def post(self, work: Callable[[], None]) -> bool:
        """Have `work` done on gRPC's thread; return False if the call has ended."""
