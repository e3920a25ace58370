"""The codes of errors, in one table for gRPC and HTTP, and their gRPC messages."""

from typing import NamedTuple

import grpc
from google.rpc.status_pb2 import Status

from serving.api.call import Metadata
from serving.errors import (
    DeadlineExceededError,
    DeviceLostError,
    InternalError,
    InvalidImageError,
    InvalidRequestError,
    ModelNotFoundError,
    OutOfDeviceMemoryError,
    OverloadedError,
    PermissionDeniedError,
    ProcessLostError,
    RepositoryError,
    ServingError,
    StartupError,
    UnauthenticatedError,
    UnavailableError,
)


class Code(NamedTuple):
    """The code of an error at both edges."""

    grpc: grpc.StatusCode
    http: int


CODES: dict[type[ServingError], Code] = {
    InvalidRequestError: Code(grpc.StatusCode.INVALID_ARGUMENT, 400),
    InvalidImageError: Code(grpc.StatusCode.INVALID_ARGUMENT, 400),
    ModelNotFoundError: Code(grpc.StatusCode.NOT_FOUND, 404),
    RepositoryError: Code(grpc.StatusCode.FAILED_PRECONDITION, 409),
    UnauthenticatedError: Code(grpc.StatusCode.UNAUTHENTICATED, 401),
    PermissionDeniedError: Code(grpc.StatusCode.PERMISSION_DENIED, 403),
    OverloadedError: Code(grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    DeadlineExceededError: Code(grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    UnavailableError: Code(grpc.StatusCode.UNAVAILABLE, 503),
    DeviceLostError: Code(grpc.StatusCode.UNAVAILABLE, 503),
    ProcessLostError: Code(grpc.StatusCode.UNAVAILABLE, 503),
    OutOfDeviceMemoryError: Code(grpc.StatusCode.INTERNAL, 500),
    InternalError: Code(grpc.StatusCode.INTERNAL, 500),
    StartupError: Code(grpc.StatusCode.INTERNAL, 500),
}


def to_serving_error(error: Exception, request_id: str) -> ServingError:
    """Return `error` if callers may see it; any other is logged, under the id of the request."""
    return error if isinstance(error, ServingError) else InternalError.logged(error, request_id)


def failure(error: Exception, request_id: str) -> tuple[grpc.StatusCode, str, Metadata]:
    """Return the code, the details and the trailing metadata with which a request ends."""
    visible = to_serving_error(error, request_id)
    return CODES[type(visible)].grpc, str(visible), retry_metadata(visible)


def to_status(error: ServingError) -> Status:
    """Return an error as google.rpc.Status."""
    code: int = CODES[type(error)].grpc.value[0]
    return Status(code=code, message=str(error))


def retry_metadata(error: ServingError) -> tuple[tuple[str, str], ...]:
    """Return the trailing metadata that says when a client should try again, if it should."""
    if isinstance(error, OverloadedError):
        return (("grpc-retry-pushback-ms", str(error.retry_after_ms)),)
    return ()
