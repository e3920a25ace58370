"""What is wrong with the head of a request that the parser has let pass."""

from collections.abc import Iterable
from http import HTTPStatus

Fault = tuple[HTTPStatus, str]


def too_large(nbytes: int, most_bytes: int) -> Fault | None:
    """Return what is wrong with a body of so many bytes or more, if anything is."""
    if nbytes <= most_bytes:
        return None
    return (
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the body has {nbytes} bytes or more; it may have at most {most_bytes} "
        f"(--max-message-bytes)",
    )


def fault(headers: Iterable[tuple[bytes, bytes]], version: str, most_bytes: int) -> Fault | None:
    """Return what is wrong: a body that is too large, or what others may have read differently.

    The parser refuses a length that is stated twice, or beside chunks, folded headers, and
    characters that are not allowed.

    Args:
        headers: their names, in small letters, and values.
        version: of HTTP; before 1.1, there need be no Host.
        most_bytes: size of the largest body.
    """
    hosts, codings = 0, list[bytes]()
    for name, value in headers:
        if name == b"content-length" and (found := too_large(int(value), most_bytes)):
            return found
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding":
            codings.append(value.lower())
    if hosts > 1 or (not hosts and version != "1.0"):
        return HTTPStatus.BAD_REQUEST, "a request must have one Host header"
    if codings not in ([], [b"chunked"]):
        return (
            HTTPStatus.NOT_IMPLEMENTED,
            "the only transfer coding that this server knows is chunked; state gzip as "
            "Content-Encoding",
        )
    return None
