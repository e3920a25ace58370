"""The caller of one request and one response, as the engine sees it."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from serving.api.call import Call
from serving.api.status import failure
from serving.engine.job import Answer
from serving.errors import ServingError


class UnaryCaller:
    """Answers a call on gRPC's thread, or in a thread of its own.

    Args:
        call: the call.
        deadline: when it must be answered, on the monotonic clock, in seconds.
        respond: returns the response to the answers, or raises.
        is_large: whether that takes so long that it should have a thread of its own.
    """

    def __init__(
        self,
        call: Call,
        deadline: float,
        respond: Callable[[list[Answer]], Any],
        *,
        is_large: bool,
    ) -> None:
        self._call, self.deadline = call, deadline
        self._response, self._is_large = respond, is_large
        # gRPC ends the call at its deadline, which may be the later one.
        self.keeps_time = deadline == call.deadline_s
        self.post = call.post

    @property
    def name(self) -> str:
        """Whose call it is."""
        return self._call.caller

    def on_leave(self, leave: Callable[[], None]) -> None:
        """Have gRPC's thread call `leave` if the caller leaves."""
        self._call.on_leave = leave

    def answer(self, answers: list[Answer]) -> None:
        """End the call."""
        if self._call.record:
            self._call.record.answered(answers)
        if self._is_large:
            self._call.run(partial(asyncio.to_thread, self._respond, answers))
        else:
            self._respond(answers)

    def refuse(self, error: ServingError) -> None:
        """End the call with an error."""
        self._call.fail(*failure(error, self._call.request_id))

    def _respond(self, answers: list[Answer]) -> None:
        try:
            self._call.finish(self._response(answers))
        except Exception as error:  # noqa: BLE001 - the call ends with it
            self._call.fail(*failure(error, self._call.request_id))
