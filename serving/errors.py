"""The errors that callers and operators see.

ServingError
├── InvalidRequestError     the request as a whole cannot be answered: empty, too many images
│   └── InvalidImageError   one image cannot be classified: broken, too large, of a wrong shape
├── ModelNotFoundError      no such model or version is loaded
├── RepositoryError         a model cannot be loaded or unloaded now
├── UnauthenticatedError    the server does not know who calls
├── PermissionDeniedError   the caller lacks a role
├── OverloadedError         too many images, bytes or pixels are in flight; carries a retry hint
├── DeadlineExceededError   the caller's deadline has passed, or cannot be met
├── UnavailableError        loading, draining, or all devices of the model are lost
├── DeviceLostError         a backend's device or worker is gone; it must be reopened
│   └── ProcessLostError    it is gone for this process: only another one can open it
├── OutOfDeviceMemoryError  a batch did not fit into the device's memory; a smaller one may
├── InternalError           anything else: logged whole, one a second; callers get an id
└── StartupError            the server cannot start: a taken port, a missing device
"""

import logging
import uuid
from typing import ClassVar, Literal, Self

logger = logging.getLogger(__name__)


class ServingError(Exception):
    """Base of all errors; `outcome` is the label under which `images_total` counts its images."""

    outcome: ClassVar[Literal["invalid", "rejected", "expired", "failed"]] = "failed"

    def of_image(self, index: int, images: int) -> Self:
        """Return an error like this one, which says which of several images has it."""
        return type(self)(f"image {index}: {self}" if images > 1 else str(self))


class InvalidRequestError(ServingError):
    """The request cannot be answered; the message says what to send instead."""

    outcome = "invalid"


class InvalidImageError(InvalidRequestError):
    """One image cannot be classified; its batch mates can."""


class ModelNotFoundError(ServingError):
    """The message lists the models or versions that are loaded."""

    outcome = "rejected"


class RepositoryError(ServingError):
    """A version cannot be loaded or unloaded; the message says why, and what was loaded goes on."""

    outcome = "rejected"


class UnauthenticatedError(ServingError):
    """The call has no token and no certificate that the server knows."""

    outcome = "rejected"


class PermissionDeniedError(ServingError):
    """`caller` is known, and lacks the role; the message names it."""

    outcome = "rejected"

    def __init__(self, message: str, caller: str) -> None:
        super().__init__(message)
        self.caller = caller


class OverloadedError(ServingError):
    """Refused at admission; the same request may succeed after `retry_after_ms` milliseconds."""

    outcome = "rejected"

    def __init__(self, message: str, retry_after_ms: int) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms

    def of_image(self, index: int, images: int) -> Self:
        """Return an error like this one, which says which of several images has it."""
        message = f"image {index}: {self}" if images > 1 else str(self)
        return type(self)(message, self.retry_after_ms)


class DeadlineExceededError(ServingError):
    """The deadline has passed, or the answer would come after it."""

    outcome = "expired"


class UnavailableError(ServingError):
    """The server is loading or draining, or its devices are lost; another server may answer."""

    outcome = "rejected"


class DeviceLostError(ServingError):
    """A backend's device or worker died or hangs; nothing runs on it until it is reopened."""


class ProcessLostError(DeviceLostError):
    """A backend's device is lost for as long as this process lives; it must not even be closed.

    An accelerator whose driver keeps the error in the process is lost so. Freeing what is on it
    would fail, too, and where that happens in a destructor of the runtime, abort the process.
    """


class OutOfDeviceMemoryError(ServingError):
    """A batch did not fit into the memory of its device; a smaller bucket may."""


class InternalError(ServingError):
    """A fault of the server; the log has its traceback (one a second), under the id."""

    @classmethod
    def logged(cls, error: BaseException, request_id: str | None = None) -> Self:
        """Log `error` with its traceback; return the error that callers may see.

        Its id is that of the request that has it, or a new one if that may be several.
        """
        error_id = request_id or uuid.uuid4().hex[:12]
        logger.error("internal error (id %s)", error_id, exc_info=error)
        return cls(f"internal error (id {error_id})")


class StartupError(ServingError):
    """The server cannot start as configured; never reaches a caller."""
