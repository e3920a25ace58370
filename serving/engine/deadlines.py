"""Ends calls at their deadlines, where nobody else does."""

import asyncio
import heapq
import itertools
import threading
import weakref
from collections.abc import Callable

from serving.engine.job import Call
from serving.engine.latency import Clock


class Deadlines:
    """Calls by their deadlines, with one timer for all; any thread may add.

    Nothing is to be done for a call that ends earlier: it is left out when its turn comes.
    Deadlines mostly rise from call to call: the timer is set anew only once in a while.

    Args:
        expire: gets a call at its deadline, on the event loop.
        clock: monotonic time, in seconds.
    """

    def __init__(self, expire: Callable[[Call], None], clock: Clock) -> None:
        self._expire, self._clock = expire, clock
        self._calls: list[tuple[float, int, weakref.ref[Call]]] = []
        self._order = itertools.count()
        self._lock = threading.Lock()
        self._timer: asyncio.TimerHandle | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Expire calls on this loop."""
        self._loop = loop

    def add(self, call: Call) -> None:
        """End a call at its deadline, unless it is over by then."""
        entry = (call.deadline, next(self._order), weakref.ref(call))
        with self._lock:
            heapq.heappush(self._calls, entry)
            is_first = self._calls[0] is entry
        if is_first:
            self._loop.call_soon_threadsafe(self._turn)

    def _turn(self) -> None:
        """Expire what is due, and wait for the next."""
        due, left = self._due()
        for call in due:
            self._expire(call)
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(left, self._turn) if left is not None else None

    def _due(self) -> tuple[list[Call], float | None]:
        """Take out the calls that are due; return them and the seconds to the next deadline."""
        due: list[Call] = []
        now = self._clock()
        with self._lock:
            while self._calls:
                deadline, _, reference = self._calls[0]
                call = reference()
                if call and not call.is_over and deadline > now:
                    return due, deadline - now
                heapq.heappop(self._calls)
                if call and not call.is_over:
                    due.append(call)
        return due, None
