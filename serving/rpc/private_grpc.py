"""Every private name of grpcio that the server uses, and all that it relies on.

`grpc.Server` has one thread, `grpc._server._serve`, which reads the server's completion queue:
gRPC's thread. It handles events by rules that are not documented:

- A batch of operations is started with a tag. When the batch has ended, gRPC's thread calls
  `tag(event)` without a lock. Tags must be hashable: it first looks them up as names of methods.
- The tag returns `(call or None, callbacks)`. gRPC's thread runs the callbacks, and removes the
  call, if there is one, from `state.rpc_states`. An exception in a tag ends the thread.
- `state.due` holds the tags of requests for calls, `state.rpc_states` the calls that are not over.
  A server that stops has stopped when both are empty.
- `state.lock` guards both. It is an RLock: a tag may hold it while it requests the next call.

`Server` checks as much of this as it can, so that an unknown grpcio is an error at the start.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import grpc
from grpc import _server
from grpc._cython import cygrpc

from serving.errors import StartupError

Over = tuple["object | None", tuple[Callable[[], None], ...]]
NOT_OVER: Over = (None, ())
Tag = Callable[[Any], Over]

KNOWN = "1.85"
INSTALL = "grpcio>=1.85,<1.86"
OPERATIONS = (
    "ReceiveCloseOnServerOperation", "ReceiveMessageOperation", "SendInitialMetadataOperation",
    "SendMessageOperation", "SendStatusFromServerOperation",
)  # fmt: skip
STATE = ("completion_queue", "due", "lock", "rpc_states", "server", "stage")

# Calls that gRPC may hand out before its thread requests more; any others wait inside gRPC.
CALLS_AHEAD = 16
# What gRPC gives as the deadline of a call that has none, in seconds since 1970, is beyond this.
NEVER_S = 2.0**62
NO_FLAGS = 0


class Server:
    """Owns the port, the queue, and gRPC's thread.

    Raises `StartupError` if this grpcio is not one that is known.

    Args:
        options: gRPC's, for the server.
    """

    def __init__(self, options: Sequence[tuple[str, int]]) -> None:
        _check_package()
        # The pool is for methods that are not registered here: there are none.
        self._server = grpc.server(ThreadPoolExecutor(1), options=options)
        self._state: Any = getattr(self._server, "_state", object())
        _check_state(self._state)

    def register(self, method: str) -> None:
        """Take the calls of a method, given its full name, before the start."""
        self._state.server.register_method(method)

    def bind(self, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
        """Bind an address, with TLS or without; return its port. RuntimeError if that fails."""
        if credentials:
            return self._server.add_secure_port(address, credentials)
        return self._server.add_insecure_port(address)

    def start(self) -> None:
        """Listen, and start gRPC's thread."""
        self._server.start()

    def accept(self, method: str, begin: Callable[[Any], object]) -> None:
        """Begin to take calls of a registered method.

        Args:
            method: its full name.
            begin: gets the event of a call's arrival, on gRPC's thread and under its lock; returns
                what the last tag of the call will return.
        """
        for _ in range(CALLS_AHEAD):
            _CallRequest(self._state, method, begin).send()

    def stop(self, grace_s: float) -> threading.Event:
        """Stop listening; after the grace period cut off the calls that are left.

        gRPC sends every client GOAWAY, closes a connection once its client has acknowledged it and
        no call is left on it, and ends calls that arrive meanwhile as CANCELLED. The event that is
        returned is set at the end.
        """
        return self._server.stop(grace_s)


class _CallRequest:
    """Accepts one call after another; it is the tag of its own requests."""

    def __init__(self, state: Any, method: str, begin: Callable[[Any], object]) -> None:
        self._state, self._method, self._begin = state, method, begin

    def send(self) -> None:
        """Request a call from gRPC, unless the server is stopping."""
        state = self._state
        with state.lock:
            if state.stage is _server._ServerStage.STARTED:
                queue = state.completion_queue
                state.server.request_registered_call(queue, queue, self._method, self)
                state.due.add(self)

    def __call__(self, event: Any) -> Over:  # gRPC's thread
        """Request the next call, and begin this one."""
        with self._state.lock:
            self._state.due.remove(self)
            if event.success:
                self.send()
                self._state.rpc_states.add(self._begin(event))
        return NOT_OVER


def deadline_s(event: Any, now_s: float) -> float | None:
    """Return the deadline of a call that arrives now on the monotonic clock, None if it has none.

    gRPC keeps time on that clock and tells it in seconds since 1970. Whoever translates it later
    than at once has callers whose time is up when somebody sets the clock.
    """
    deadline: float = event.call_details.deadline
    return None if deadline > NEVER_S else now_s + max(deadline - time.time(), 0.0)


def headers(event: Any) -> Sequence[tuple[str, str]]:
    """Return the headers of a call that arrives; the values of names in `-bin` are bytes."""
    pairs: Sequence[tuple[str, str]] = event.invocation_metadata
    return pairs


def auth_context(event: Any) -> dict[str, Sequence[bytes]]:
    """Return what gRPC knows of the peer of a call that arrives: with TLS, its certificate."""
    found = cygrpc.auth_context(event.call) or {}
    return {name.decode(): values for name, values in found.items()}


def header(event: Any, name: str) -> list[str]:
    """Return the values of a header of a call that arrives, in order."""
    return [value for key, value in event.invocation_metadata if key == name]


def peer(call: Any) -> str:
    """Return the address at the other end of a call's connection, without its port."""
    address: str = call.peer().decode()  # ipv4:192.0.2.1:50000, ipv6:%5B2001:db8::1%5D:50000
    host = address.partition(":")[2].rpartition(":")[0]
    return host.removeprefix("%5B").removesuffix("%5D")


def start_batch(call: Any, operations: tuple[object, ...], tag: Tag) -> None:
    """Start operations of a call; the event of an empty batch comes at once."""
    if error := call.start_server_batch(operations, tag):
        raise RuntimeError(f"gRPC refuses an operation of a call: error {error}")


def cancel(call: Any, code: grpc.StatusCode, details: str) -> None:
    """End a call without an operation and so without a tag; those that have begun end at once."""
    call.cancel(code.value[0], details)


def receive_message() -> object:
    """Return the operation that receives a request; the event is for `message`."""
    return cygrpc.ReceiveMessageOperation(NO_FLAGS)


def receive_close() -> object:
    """Return the operation that receives the end of a call; the event is for `has_left`."""
    return cygrpc.ReceiveCloseOnServerOperation(NO_FLAGS)


def send_metadata() -> object:
    """Return the operation that goes before the first response."""
    return cygrpc.SendInitialMetadataOperation((), NO_FLAGS)


def send_message(message: bytes) -> object:
    """Return the operation that sends a response."""
    return cygrpc.SendMessageOperation(message, NO_FLAGS)


def send_status(code: grpc.StatusCode, details: str, metadata: Sequence[tuple[str, str]]) -> object:
    """Return the operation that ends a call."""
    number: int = code.value[0]
    # A handler's error may contain a file name that is not valid text.
    text = details.encode(errors="backslashreplace")
    return cygrpc.SendStatusFromServerOperation(tuple(metadata), number, text, NO_FLAGS)


def message(event: Any) -> bytes | None:
    """Return what a batch of `receive_message` received, None at the end of a stream."""
    received: bytes | None = event.batch_operations[0].message()
    return received


def has_left(event: Any) -> bool:
    """Whether `receive_close` says that the caller has left, or its deadline has passed."""
    return bool(event.batch_operations[0].cancelled())


def _check_package() -> None:
    if not grpc.__version__.startswith(f"{KNOWN}."):
        raise _unknown("another version")
    for name in OPERATIONS:
        if not hasattr(cygrpc, name):
            raise _unknown(f"cygrpc.{name} is missing")


def _check_state(state: Any) -> None:
    for name in STATE:
        if not hasattr(state, name):
            raise _unknown(f"the server's state has no {name}")
    if not isinstance(state.lock, type(threading.RLock())):
        raise _unknown("the server's lock is no RLock")
    if not _takes_tags(state):
        raise _unknown("the server's thread handles tags in another way")


def _takes_tags(state: Any) -> bool:
    """Whether gRPC's thread would call a tag and its callbacks, and remove its call."""
    call, called = object(), list[object]()

    def tag(event: Any) -> Over:
        called.append(event)
        return call, (lambda: called.append("callback"),)

    event = SimpleNamespace(tag=tag)
    state.due.add(tag)  # else gRPC would take the server for stopped
    state.rpc_states.add(call)
    try:
        goes_on = _server._process_event_and_continue(state, event)
    except Exception as error:
        raise _unknown("the server's thread handles tags in another way") from error
    state.due.remove(tag)
    return goes_on and called == [event, "callback"] and call not in state.rpc_states


def _unknown(reason: str) -> StartupError:
    return StartupError(
        f"grpcio {grpc.__version__} is not known to this server (known: {KNOWN}.x): {reason}; "
        f"install '{INSTALL}'"
    )
