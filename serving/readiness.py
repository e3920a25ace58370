"""Whether the server answers: one state, seen alike by gRPC, HTTP and metrics."""

import asyncio
from enum import StrEnum

from prometheus_client import Gauge

from serving.errors import UnavailableError


class State(StrEnum):
    """Where the server is in its life."""

    LOADING = "loading"
    SERVING = "serving"
    DRAINING = "draining"


class Readiness:
    """The server's state, copied to the gauge that says so.

    `draining` ends what never would; `farewell` is set when clients know that they must leave.
    """

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self.state = State.LOADING
        self.draining, self.farewell = asyncio.Event(), asyncio.Event()

    def enter(self, state: State) -> None:
        """Change the state."""
        self.state = state
        self._gauge.set(state is State.SERVING)
        if state is State.DRAINING:
            self.draining.set()

    async def may_answer(self) -> None:
        """Return at once, or, from the start of draining on, when clients know of it.

        A caller that loops would else send its next call into the closing server.
        """
        if self.draining.is_set():
            await self.farewell.wait()

    def check(self) -> None:
        """Raise `UnavailableError` unless the server serves."""
        if self.state is not State.SERVING:
            raise UnavailableError(f"the server is {self.state}; try another, or again later")
