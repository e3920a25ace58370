"""The id of a request: its caller's, in the header `x-request-id`, or one of ours."""

import re
import secrets
from collections.abc import Iterable
from itertools import count

HEADER = "x-request-id"
LONGEST_ID = 128
# Visible ASCII: what can neither end a header, nor colour a terminal, nor begin a line of a log.
_ACCEPTABLE = re.compile(rf"[!-~]{{1,{LONGEST_ID}}}")
# Two processes hardly share it, and a count is much cheaper than a random number for each request.
_PREFIX = secrets.token_hex(6)
_numbers = count(1)


def request_id(headers: Iterable[tuple[str, str]]) -> str:
    """Return the id that a caller states, or a new one if it states none that is acceptable.

    An id of more than `LONGEST_ID` characters, or of others than visible ASCII, is as good as none:
    no request fails because of its id.

    Args:
        headers: names in small letters, and values; the first `x-request-id` counts.
    """
    for name, value in headers:
        if name == HEADER:
            return value if _ACCEPTABLE.fullmatch(value) else new_id()
    return new_id()


def new_id() -> str:
    """Return an id that no other request has."""
    return f"{_PREFIX}-{next(_numbers):x}"
