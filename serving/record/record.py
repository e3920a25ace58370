"""The record of one request: filled in while it is answered, handed on at its end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from random import getrandbits
from typing import NamedTuple

from serving.engine.answers import EARLY_S, EARLY_SHARE
from serving.engine.job import Answer, Prediction, Timing
from serving.engine.served import Served
from serving.record.trace_context import TraceContext

OK, CANCELLED, LATE, UNKNOWN = "OK", "CANCELLED", "DEADLINE_EXCEEDED", "UNKNOWN"

_total_s = attrgetter("total_s")


class Trace(NamedTuple):
    """The span that a record becomes.

    Attributes:
        trace_id: of 128 bits.
        span_id: of 64 bits.
        parent: the caller's span; None if the trace begins here.
    """

    trace_id: int
    span_id: int
    parent: TraceContext | None

    @classmethod
    def begin(cls, parent: TraceContext | None) -> "Trace":
        """Return a new span, of a new trace unless it has a parent."""
        return cls(parent.trace_id if parent else getrandbits(128), getrandbits(64), parent)


@dataclass(slots=True, eq=False)
class Record:
    """What is known of a request. All but `end` are called by one thread at a time.

    Times are on the monotonic clock, in seconds, unless they say otherwise.

    Attributes:
        write: gets the record when it is closed.
        request_id: the caller's, or ours.
        method: gRPC's full name of the method; or the method and the path of HTTP.
        arrived_s: when the request came.
        trace: its span; None if it is not traced.
        peer: the address that it came from.
        caller: the name of whoever sent it; empty if nobody asked.
        deadline_s: when its caller stops waiting, None if that is not known.
        nbytes: the size of its message or body.
        code: gRPC's name of its status, or HTTP's number; empty while there is none.
        error: what its caller was told of what went wrong.
        is_stream: whether it is a stream, whose messages have records of their own.
        message_id: the id in its message, which the answer repeats.
        model, version, digest: what answers it; empty if that is no model.
        images, failed_images: how many it has, and how many of them failed.
        admitted_s: when the engine got them.
        timing: the stages of the image that was answered last, None if none was.
        ended_s, ended_unix_s: when it was closed; the second in seconds since 1970.
    """

    write: Callable[["Record"], None]
    request_id: str
    method: str
    arrived_s: float
    trace: Trace | None
    peer: str = ""
    caller: str = ""
    deadline_s: float | None = None
    nbytes: int = 0
    code: str = ""
    error: str = ""
    is_stream: bool = False
    message_id: str = ""
    model: str = ""
    version: str = ""
    digest: str = ""
    images: int = 0
    failed_images: int = 0
    admitted_s: float = 0.0
    timing: Timing | None = None
    ended_s: float = 0.0
    ended_unix_s: float = 0.0
    _exemplify: Callable[[float, str], None] | None = field(default=None, repr=False)
    _messages: int = 0

    @property
    def is_ok(self) -> bool:
        """Whether it ended well; 499 is HTTP's number for a caller who left."""
        return self.code == OK or self.code < "4"

    @property
    def is_http(self) -> bool:
        """Whether it came over HTTP, not gRPC."""
        return not self.method.startswith("/")

    @property
    def trace_id(self) -> str:
        """The id of its trace as others write it; empty if it is not traced."""
        return f"{self.trace.trace_id:032x}" if self.trace else ""

    def message(self, arrived_s: float, nbytes: int) -> "Record":
        """Return the record of the next message of this stream."""
        self._messages += 1
        return Record(
            self.write,
            f"{self.request_id}/{self._messages}",
            self.method,
            arrived_s,
            self.trace and Trace.begin(self.trace.parent),
            peer=self.peer,
            caller=self.caller,
            nbytes=nbytes,
        )

    def asked(self, model: Served, images: int, message_id: str, deadline_s: float) -> None:
        """Note what it asks for, just before the engine gets it."""
        self.model, self.version = model.name, model.version
        self.digest = model.bundle.digest
        self.images, self.message_id, self.deadline_s = images, message_id, deadline_s
        self.admitted_s = model.clock()
        if self.trace:
            self._exemplify = model.exemplify

    def answered(self, answers: Sequence[Answer]) -> None:
        """Note what became of its images."""
        timings = [answer.timing for answer in answers if isinstance(answer, Prediction)]
        self.failed_images = len(answers) - len(timings)
        if timings:
            self.timing = max(timings, key=_total_s)

    def end(self, code: str, error: str = "") -> None:  # any thread
        """Note how it ends; the first status is the one that its caller gets."""
        if not self.code:
            self.code, self.error = code, error

    def leave(self, now: float) -> None:
        """Note that its caller has left, perhaps at the deadline by its own clock.

        OK has not reached it: the requests of a stream end as well when their caller leaves, so
        that the stream may seem to be over before it is known why.
        """
        if self.code == OK:
            self.code = ""
        due = self.deadline_s
        margin_s = EARLY_S + EARLY_SHARE * (due - self.arrived_s) if due else 0.0
        if due and now >= due - margin_s:
            self.end(LATE, "the deadline has passed")
        else:
            self.end(CANCELLED, "the caller has left")

    def close(self) -> None:
        """Hand it on."""
        self.end(UNKNOWN)
        if self._exemplify and self.timing:
            self._exemplify(self.timing.total_s, self.trace_id)
            self._exemplify = None  # it would keep the model's metrics
        if not (self.is_stream and self.is_ok):
            self.write(self)
