"""Records as spans of OpenTelemetry; the only module besides `exporter` that imports it."""

from collections.abc import Iterator, Mapping

import grpc
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from serving.record.lines import presentable
from serving.record.record import Record, Trace

Value = str | int | float
NAME = "resnext-serving"
UNNAMED = "unknown_service"
SCOPE = InstrumentationScope("serving.record")
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
# Of gRPC's, those for which a server is to blame; the others are the caller's.
FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
NANOSECONDS = 10**9


def resource(version: str) -> Resource:
    """Return what is said of this process; OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES win."""
    stated = Resource.create({SERVICE_VERSION: version})
    name = str(stated.attributes[SERVICE_NAME])
    return stated.merge(Resource({SERVICE_NAME: NAME})) if name.startswith(UNNAMED) else stated


def to_span(record: Record, trace: Trace, of: Resource) -> ReadableSpan:
    """Return the span of a record, with its stages as events at their own times."""
    # The clocks are compared once, at the end: times of one span stay in order.
    since_ns = record.ended_unix_s * NANOSECONDS - record.ended_s * NANOSECONDS

    def unix_ns(at_s: float) -> int:
        return int(since_ns + at_s * NANOSECONDS)

    state = TraceState.from_header([trace.parent.state]) if trace.parent else None
    parent = trace.parent and SpanContext(
        trace.trace_id, trace.parent.span_id, is_remote=True, trace_flags=SAMPLED, trace_state=state
    )
    return ReadableSpan(
        name=presentable(record.method).lstrip("/"),
        context=SpanContext(
            trace.trace_id, trace.span_id, is_remote=False, trace_flags=SAMPLED, trace_state=state
        ),
        parent=parent,
        resource=of,
        attributes={**_attributes(record), **_protocol(record)},
        events=[Event(name, timestamp=unix_ns(at_s)) for name, at_s in stages(record)],
        kind=SpanKind.SERVER,
        instrumentation_scope=SCOPE,
        status=_status(record),
        start_time=unix_ns(record.arrived_s),
        end_time=unix_ns(record.ended_s),
    )


def stages(record: Record) -> Iterator[tuple[str, float]]:
    """Yield what happened and when, on the monotonic clock: to the image that was answered last."""
    if record.admitted_s:
        yield "admitted", record.admitted_s
    if timing := record.timing:
        decode_s = record.admitted_s + timing.decode_after_s
        finished_s = record.admitted_s + timing.total_s
        yield "decode.start", decode_s
        yield "decode.end", decode_s + timing.decode_s
        yield "infer.start", finished_s - timing.infer_s
        yield "infer.end", finished_s


def _attributes(record: Record) -> Mapping[str, Value]:
    said: dict[str, Value] = {
        "serving.request_id": presentable(record.request_id),
        "serving.message_id": presentable(record.message_id),
        "serving.caller": record.caller,
        "serving.model": record.model,
        "serving.version": record.version,
        "serving.digest": record.digest,
        "serving.images": record.images,
        "serving.failed_images": record.failed_images,
        "network.peer.address": record.peer,
    }
    if timing := record.timing:
        said |= {
            "serving.batch_images": timing.batch_images,
            "serving.decode_ms": timing.decode_s * 1e3,
            "serving.queue_ms": timing.queue_s * 1e3,
            "serving.infer_ms": timing.infer_s * 1e3,
        }
    return {key: value for key, value in said.items() if value != ""}


def _protocol(record: Record) -> Mapping[str, Value]:
    if not record.is_http:
        service, _, method = record.method.lstrip("/").rpartition("/")
        return {
            "rpc.system": "grpc",
            "rpc.service": service,
            "rpc.method": method,
            "rpc.grpc.status_code": grpc.StatusCode[record.code].value[0],
        }
    method, _, path = presentable(record.method).partition(" ")
    return {
        "http.request.method": method,
        "url.path": path,
        "http.response.status_code": int(record.code),
        "http.request.body.size": record.nbytes,
    }


def _status(record: Record) -> Status:
    is_fault = record.code >= "5" if record.is_http else record.code in FAULTS
    return (
        Status(StatusCode.ERROR, presentable(record.error))
        if is_fault
        else Status(StatusCode.UNSET)
    )
