import grpc
import pytest

from serving import errors
from serving.api.status import CODES, retry_metadata, to_status


def kinds(error: type[errors.ServingError]) -> set[type[errors.ServingError]]:
    return {error}.union(*(kinds(child) for child in error.__subclasses__()))


def test_every_error_has_a_code_at_both_edges() -> None:
    assert set(CODES) == kinds(errors.ServingError) - {errors.ServingError}


@pytest.mark.parametrize(
    ("error", "code", "http"),
    [
        (errors.InvalidImageError, grpc.StatusCode.INVALID_ARGUMENT, 400),
        (errors.InvalidRequestError, grpc.StatusCode.INVALID_ARGUMENT, 400),
        (errors.ModelNotFoundError, grpc.StatusCode.NOT_FOUND, 404),
        (errors.OverloadedError, grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        (errors.DeadlineExceededError, grpc.StatusCode.DEADLINE_EXCEEDED, 504),
        (errors.UnavailableError, grpc.StatusCode.UNAVAILABLE, 503),
        (errors.DeviceLostError, grpc.StatusCode.UNAVAILABLE, 503),
        (errors.ProcessLostError, grpc.StatusCode.UNAVAILABLE, 503),
        (errors.InternalError, grpc.StatusCode.INTERNAL, 500),
    ],
)
def test_codes_are_those_of_the_table(
    error: type[errors.ServingError], code: grpc.StatusCode, http: int
) -> None:
    assert CODES[error] == (code, http)


def test_a_status_holds_code_and_message() -> None:
    status = to_status(errors.InvalidImageError("broken"))
    assert (status.code, status.message) == (3, "broken")


def test_only_an_overload_says_when_to_try_again() -> None:
    overload = errors.OverloadedError("full", retry_after_ms=250)
    assert retry_metadata(overload) == (("grpc-retry-pushback-ms", "250"),)
    assert retry_metadata(errors.UnavailableError("loading")) == ()
