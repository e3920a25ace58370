"""What a call may raise.

ClassifierError            a call failed; `code` and `message` say how
├── RequestError           the server refuses this request, now and later
├── DeadlineError          no answer within the timeout, or none possible
├── OverloadError          the server's queue is full, or the message too large
└── UnavailableError       no server there, or one that is loading or draining
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from clients import proxies


class ClassifierError(Exception):
    """A call failed with the gRPC status `code`; `message` is the server's or the library's.

    `request_id` names the call in the server's log; it is empty if the server did not answer.
    """

    def __init__(self, code: grpc.StatusCode, message: str, request_id: str = "") -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message
        self.request_id = request_id


class RequestError(ClassifierError):
    """INVALID_ARGUMENT or NOT_FOUND: the same request would fail again."""


class DeadlineError(ClassifierError):
    """DEADLINE_EXCEEDED: no answer within the timeout, or the server knows that none can be."""


class OverloadError(ClassifierError):
    """RESOURCE_EXHAUSTED, after the retries that the server allowed."""


class UnavailableError(ClassifierError):
    """UNAVAILABLE, after retries: nothing listens there, or it is loading or draining."""


_KINDS: dict[grpc.StatusCode, type[ClassifierError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: RequestError,
    grpc.StatusCode.NOT_FOUND: RequestError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
}

# gRPC gives UNAVAILABLE for these and for what a loading or draining server says of itself.
_NO_SERVER = ("failed to connect", "errors resolving")
# Where the server says under which id its log has a call.
REQUEST_ID = "x-request-id"
# gRPC's own words, and none of the server's.
_LATE = "Deadline Exceeded"


@contextmanager
def rpc_errors(address: str) -> Iterator[None]:
    """Raise the `ClassifierError` for a gRPC error of a call to this address."""
    try:
        yield
    except grpc.RpcError as error:
        code = error.code()
        message = error.details() or "no details"
        if code is grpc.StatusCode.UNAVAILABLE and any(text in message for text in _NO_SERVER):
            message = (
                f"no server answers at {address} ({message}); "
                f"`make serve` or `python -m serving --model BUNDLE` starts one"
                f"{proxies.hint(address)}"
            )
        elif message == _LATE:
            message += proxies.hint(address)
        raise _KINDS.get(code, ClassifierError)(code, message, _request_id(error)) from error


def _request_id(error: grpc.RpcError) -> str:
    metadata: Any = error.trailing_metadata() or ()
    return next((str(value) for key, value in metadata if key == REQUEST_ID), "")
