"""`grpc.Server` with methods that it leaves to tags on its completion queue."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc._cython import cygrpc
from grpc._server import _ServerStage

from serving.rpc.call import NOTHING, RpcCall, Settled

# How long its thread lets events gather where that keeps nobody waiting.
REST_S = 0.005
AT_ONCE = 0.0
NO_EVENT = cygrpc.CompletionType.queue_timeout
# Calls that gRPC may hand out before the queue is read again. Those beyond wait inside gRPC, where
# a server that stops cuts them off.
READY_CALLS = 16


class Core:
    """Owns the port, the queue, and the thread that reads it.

    That thread calls the tag of every event, and takes from it the call that is over, if one is.
    The server has stopped when all calls that it knows are.

    Args:
        options: gRPC's, for the server.
        may_rest: whether the thread may let events gather for a moment; asked while none waits.
    """

    def __init__(self, options: Sequence[tuple[str, int]], may_rest: Callable[[], bool]) -> None:
        # The pool is for methods that are not registered here: there are none.
        self.server = grpc.server(ThreadPoolExecutor(1), options=options)
        self._state = self.server._state  # type: ignore[attr-defined]
        self._queue = _Queue()
        self._queue.may_rest = may_rest
        self._state.server.register_completion_queue(self._queue)
        self._state.completion_queue = self._queue
        self.wake = self._queue.woken.set

    def register(self, method: str) -> None:
        """Take the calls of a method, given its full name, before the start."""
        self._state.server.register_method(method)

    def accept(self, method: str, to_call: Callable[[Any], RpcCall]) -> None:
        """Begin to take calls of a registered method; `to_call` makes them of gRPC's events."""
        for _ in range(READY_CALLS):
            _Place(self._state, method, to_call).request()


class _Queue(cygrpc.CompletionQueue):  # type: ignore[misc]  # the package has no types
    """Lets events gather where it may: each wake-up costs as much as an event.

    Attributes:
        may_rest: whether it may.
        woken: set to end a rest at once.
    """

    may_rest: Callable[[], bool]

    def __init__(self) -> None:
        self.woken = threading.Event()

    def poll(self, deadline: float | None = None) -> Any:
        """Return the next event, or a time-out at the deadline (seconds since 1970)."""
        event = super().poll(AT_ONCE)
        if event.completion_type != NO_EVENT:
            return event
        if self.may_rest():
            self.woken.clear()
            event = super().poll(AT_ONCE)
            if event.completion_type != NO_EVENT:
                return event
            self.woken.wait(REST_S)
        return super().poll(deadline)


class _Place:
    """Takes one call after the other; the tag of its own requests."""

    def __init__(self, state: Any, method: str, to_call: Callable[[Any], RpcCall]) -> None:
        self._state, self._method, self._to_call = state, method, to_call

    def request(self) -> None:
        """Ask gRPC for a call, unless the server stops."""
        state = self._state
        with state.lock:
            if state.stage is _ServerStage.STARTED:
                queue = state.completion_queue
                state.server.request_registered_call(queue, queue, self._method, self)
                state.due.add(self)

    def __call__(self, event: Any) -> Settled:
        """Begin the call, and ask for the next."""
        with self._state.lock:
            self._state.due.remove(self)
            if event.success:
                self.request()
                call = self._to_call(event)
                self._state.rpc_states.add(call)
                call.begin()
        return NOTHING
