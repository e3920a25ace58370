"""The cheap look at a trace context, before it is read."""

from hypothesis import given
from hypothesis import strategies as st

from serving.record.trace_context import may_be_sampled, trace_context

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
FLAGS = st.one_of(
    st.integers(0, 255).map("{:02x}".format), st.text("0123456789abcdefgAF-", max_size=3)
)
STATED = st.builds(
    "{}-{}-{}-{}{}".format,
    st.sampled_from(["00", "01", "ff"]),
    st.just(TRACE),
    st.sampled_from([SPAN, SPAN[1:], "0" * 16]),
    FLAGS,
    st.sampled_from(["", "-more"]),
)
NAMES = st.sampled_from(["traceparent", "tracestate", "x-request-id"])


@given(st.lists(st.tuples(NAMES, st.one_of(STATED, st.text(max_size=60))), max_size=3))
def test_no_sampled_context_is_overlooked(headers: list[tuple[str, str]]) -> None:
    found = trace_context(headers)
    if found and found.is_sampled:
        assert may_be_sampled(headers)


@given(st.integers(0, 255).map("{:02x}".format))
def test_only_what_may_be_sampled_is_read(flags: str) -> None:
    headers = [("user-agent", "other"), ("traceparent", f"00-{TRACE}-{SPAN}-{flags}")]
    found = trace_context(headers)
    assert found
    assert may_be_sampled(headers) is found.is_sampled is bool(int(flags, 16) & 1)
