"""Whether the server answers: one state, seen alike by gRPC, HTTP and metrics."""

import asyncio
from enum import StrEnum

from prometheus_client import Gauge

from serving.errors import UnavailableError


class State(StrEnum):
    """Where the server is in its life; in a drain it answers until its shutdown delay is over."""

    LOADING = "loading"
    SERVING = "serving"
    DRAINING = "draining"


class Readiness:
    """The server's state, copied to the gauge that says so.

    `closing` is set when a drain accepts no more calls: it ends streams, which might never end.
    """

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self.state = State.LOADING
        self.closing = asyncio.Event()

    def enter(self, state: State) -> None:
        """Change the state."""
        self.state = state
        self._gauge.set(state is State.SERVING)

    def check(self) -> None:
        """Raise `UnavailableError` unless the server is to be sent calls."""
        if self.state is not State.SERVING:
            raise UnavailableError(f"the server is {self.state}; try another, or again later")
