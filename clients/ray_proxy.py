"""Calls through a proxy of Ray Serve.

It drops the deadline of a call, which goes into its metadata for that reason. Its errors are no
"trailers only", after which gRPC would try again by itself: that is done here. And the code of a
replica that died with a request is INTERNAL.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc

# How long a call has from its arrival, in milliseconds; HTTP has a header of this name.
TIMEOUT = "x-request-timeout-ms"
# When the server wants the next attempt, in milliseconds; below 0: not at all.
PUSHBACK = "grpc-retry-pushback-ms"
# As gRPC does it for other servers: see `clients/methods.py`.
ATTEMPTS, FIRST_PAUSE_S, LONGEST_PAUSE_S, JITTER = 4, 0.1, 1.0, 0.2
CODES = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,
)

Metadata = Sequence[tuple[str, str | bytes]]


class Attempts:
    """The attempts of one call, which have `timeout_s` together."""

    def __init__(self, timeout_s: float) -> None:
        self._end_s = time.monotonic() + timeout_s
        self._left = ATTEMPTS

    def options(self, metadata: Metadata) -> dict[str, Any]:
        """Return the timeout and the metadata of an attempt that begins now."""
        self._left -= 1
        left_s = self._end_s - time.monotonic()
        stated = (TIMEOUT, str(max(1, round(left_s * 1000))))
        return {"timeout": left_s, "metadata": [*metadata, stated]}

    def pause_s(self, error: grpc.RpcError) -> float | None:
        """Return how long to wait for the next attempt; None if there is none."""
        if not self._left or error.code() not in CODES:
            return None
        trailing: Any = error.trailing_metadata() or ()
        asked = next((value for name, value in trailing if name == PUSHBACK), None)
        if asked is None:
            longest_s = min(FIRST_PAUSE_S * 2 ** (ATTEMPTS - self._left - 1), LONGEST_PAUSE_S)
            pause_s = longest_s * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
        elif asked.isascii() and asked.isdecimal():
            pause_s = int(asked) / 1000
        else:
            return None
        return pause_s if time.monotonic() + pause_s < self._end_s else None


def call(method: Callable[..., Any], request: Any, *, timeout: float, metadata: Metadata) -> Any:
    """Return the response; raise the error of the last attempt."""
    attempts = Attempts(timeout)
    while True:
        try:
            return method(request, **attempts.options(metadata))
        except grpc.RpcError as error:
            if (pause_s := attempts.pause_s(error)) is None:
                raise
        time.sleep(pause_s)


async def call_async(
    method: Callable[..., Awaitable[Any]],
    request: Any,
    *,
    timeout: float,  # noqa: ASYNC109 - of gRPC, whose call this looks like
    metadata: Metadata,
) -> Any:
    """As `call`, for asyncio."""
    attempts = Attempts(timeout)
    while True:
        try:
            return await method(request, **attempts.options(metadata))
        except grpc.RpcError as error:
            if (pause_s := attempts.pause_s(error)) is None:
                raise
        await asyncio.sleep(pause_s)
