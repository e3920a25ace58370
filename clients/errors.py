"""What a call may raise.

ClassifierError            a call failed; `code` and `message` say how
├── RequestError           the server refuses this request, now and later
├── AccessError            the server does not know the caller, or does not let it do this
├── DeadlineError          no answer within the timeout, or none possible
├── OverloadError          the server's queue is full, or the message too large
└── UnavailableError       no server there, or one that is loading or draining
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from clients import access, proxies


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


class AccessError(ClassifierError):
    """UNAUTHENTICATED: no token that the server knows; PERMISSION_DENIED: it lacks a role."""


class DeadlineError(ClassifierError):
    """DEADLINE_EXCEEDED: no answer within the timeout, or the server knows that none can be."""


class OverloadError(ClassifierError):
    """RESOURCE_EXHAUSTED, after the retries that the server allowed."""


class UnavailableError(ClassifierError):
    """UNAVAILABLE, after retries: nothing listens there, or it is loading or draining."""


_KINDS: dict[grpc.StatusCode, type[ClassifierError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: RequestError,
    grpc.StatusCode.NOT_FOUND: RequestError,
    grpc.StatusCode.UNAUTHENTICATED: AccessError,
    grpc.StatusCode.PERMISSION_DENIED: AccessError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
}

# gRPC gives UNAVAILABLE for these and for what a loading or draining server says of itself.
_NO_SERVER = ("failed to connect", "connections to all backends failing", "errors resolving")
# Where the server says under which id its log has a call.
REQUEST_ID = "x-request-id"
# Parts of what gRPC says where TLS fails, of several of its versions, and what they mean.
_NO_TLS = {
    "WRONG_VERSION_NUMBER": "it speaks no TLS there",
    "ALPN": "it speaks TLS there, but not gRPC",
    "Hostname": "its certificate is for other names",
    "CERTIFICATE_VERIFY_FAILED": "no authority that is trusted here has signed its certificate, or "
    "it is out of date (tls=Tls(ca=…), --tls-ca)",
    "security handshaker": "the files of TLS are not PEM, or a key is of another certificate",
    "Socket closed": "it closes connections at once, and may want TLS (tls=…, --tls), or a "
    "client's certificate (--tls-cert)",
}
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
        unreachable = code is grpc.StatusCode.UNAVAILABLE and any(t in message for t in _NO_SERVER)
        if unreachable and (why := next((w for t, w in _NO_TLS.items() if t in message), None)):
            message = f"no call reaches the server at {address}: {why} ({message})"
        elif unreachable:
            message = (
                f"no server answers at {address} ({message}); "
                f"`make serve` or `python -m serving --model BUNDLE` starts one"
                f"{proxies.hint(address)}"
            )
        elif code is grpc.StatusCode.UNAUTHENTICATED:
            message += access.HINT
        elif message == _LATE:
            message += proxies.hint(address)
        raise _KINDS.get(code, ClassifierError)(code, message, _request_id(error)) from error


def _request_id(error: grpc.RpcError) -> str:
    metadata: Any = error.trailing_metadata() or ()
    return next((str(value) for key, value in metadata if key == REQUEST_ID), "")
