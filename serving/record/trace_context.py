"""The W3C's trace context: how a caller says that its trace goes on here."""

import re
from collections.abc import Iterable
from typing import NamedTuple

# https://www.w3.org/TR/trace-context/#traceparent-header: version, trace, span, flags. A later
# version may have more after another dash.
_TRACEPARENT = re.compile(
    "(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_SAMPLED = 1
_LOW_DIGIT_OF_FLAGS = slice(54, 55)
_WITH_SAMPLED = frozenset("13579bdf")
# As much as must be passed on; what is longer is left out.
LONGEST_STATE = 512


class TraceContext(NamedTuple):
    """The caller's span, the trace that it belongs to, and whether that is recorded.

    Attributes:
        trace_id: of 128 bits; 0 if it is not recorded, when nobody needs it.
        span_id: of 64 bits; likewise.
        is_sampled: whether the caller records the trace.
        state: its `tracestate`, as it came; empty if there is none.
    """

    trace_id: int
    span_id: int
    is_sampled: bool
    state: str


UNSAMPLED = TraceContext(0, 0, is_sampled=False, state="")


def may_be_sampled(headers: Iterable[tuple[str, str]]) -> bool:
    """Whether it is worth to read what a caller states, which takes ten times as long as this.

    False says that `trace_context` would find none that is sampled.

    Args:
        headers: names in small letters, and values.
    """
    for name, value in headers:
        if name == "traceparent" and value[_LOW_DIGIT_OF_FLAGS] in _WITH_SAMPLED:
            return True
    return False


def trace_context(headers: Iterable[tuple[str, str]]) -> TraceContext | None:
    """Return what a caller states, None if that is nothing, or not as the W3C says.

    Args:
        headers: names in small letters, and values.
    """
    parent = state = ""
    for name, value in headers:
        if name == "traceparent":
            if parent:
                return None
            parent = value
        elif name == "tracestate":
            state = f"{state},{value}" if state else value
    if not (parent and (found := _TRACEPARENT.fullmatch(parent))):
        return None
    version, trace, span, flags, rest = found.groups()
    if rest and version == "00":
        return None
    if not int(flags, 16) & _SAMPLED:
        return UNSAMPLED
    state = state if len(state) <= LONGEST_STATE else ""
    return TraceContext(int(trace, 16), int(span, 16), is_sampled=True, state=state)
