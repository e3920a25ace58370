"""Spans of a real server, as a real collector gets them."""

import re
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from protos import classifier_pb2 as pb
from tests.serving.api.messages import png
from tests.serving.record.collector import Collector, Recording, attributes, collecting, recording

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
STAGES = ["admitted", "decode.start", "decode.end", "infer.start", "infer.end"]
REQUEST = pb.ClassifyRequest(images=[png(1), png(2)], id="mine", top_k=1)


@pytest.fixture(scope="module")
def collector() -> Iterator[tuple[Collector, str]]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def spans(collector: tuple[Collector, str]) -> Collector:
    return collector[0]


@pytest.fixture(scope="module")
def traced(tiny: Path, collector: tuple[Collector, str]) -> Iterator[Recording]:
    flags = "--access-log", "all", "--log-format", "json", "--otlp-endpoint", collector[1]
    with recording(tiny, *flags) as server:
        yield server


def times(span: Span) -> list[int]:
    return [
        span.start_time_unix_nano,
        *(event.time_unix_nano for event in span.events),
        span.end_time_unix_nano,
    ]


def test_a_call_continues_the_trace_of_its_caller(traced: Recording, spans: Collector) -> None:
    context = ("traceparent", SAMPLED), ("tracestate", "vendor=1"), ("x-request-id", "abc")
    with traced.calling() as stub:
        response = stub.Classify(REQUEST, metadata=context)
    span = spans.next()
    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id.hex() == PARENT
    assert span.trace_state == "vendor=1"
    assert span.kind == Span.SPAN_KIND_SERVER
    assert span.name == "resnext.serving.v1.Classifier/Classify"
    assert [event.name for event in span.events] == STAGES
    assert times(span) == sorted(times(span))
    said = attributes(span)
    expected = {
        "rpc.system": "grpc",
        "rpc.service": "resnext.serving.v1.Classifier",
        "rpc.method": "Classify",
        "rpc.grpc.status_code": 0,
        "serving.request_id": "abc",
        "serving.message_id": "mine",
        "serving.model": "tiny",
        "serving.version": "1",
        "serving.images": 2,
        "serving.failed_images": 0,
    }
    assert said.items() >= expected.items()
    assert re.fullmatch("sha256:[0-9a-f]{64}", said["serving.digest"])
    timing = max((r.timing for r in response.results), key=lambda each: each.total_ms)
    assert said["serving.batch_images"] == timing.batch_images
    assert said["serving.queue_ms"] == pytest.approx(timing.queue_ms)
    # The events are where the answer says that the stages were.
    at = {event.name: event.time_unix_nano / 1e6 for event in span.events}
    assert at["infer.end"] - at["infer.start"] == pytest.approx(timing.infer_ms, abs=0.01)
    assert at["decode.end"] - at["decode.start"] == pytest.approx(timing.decode_ms, abs=0.01)
    assert at["infer.end"] - at["admitted"] == pytest.approx(timing.total_ms, abs=0.01)
    assert spans.resources[-1]["service.name"] == "resnext-serving"
    assert traced.access("abc")["trace"] == TRACE


@pytest.mark.parametrize(
    "context",
    [
        UNSAMPLED, "", "nonsense", f"ff-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01-more",
        f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", SAMPLED.upper(),
    ],
)  # fmt: skip
def test_a_call_that_states_no_sampled_context_is_not_traced(
    context: str, traced: Recording, spans: Collector
) -> None:
    with traced.calling() as stub:
        stub.Classify(REQUEST, metadata=[("traceparent", context), ("x-request-id", "plain")])
        assert "trace" not in traced.access("plain")
        # What is exported next is the next call that is traced, so this one was not.
        later = ("traceparent", f"01-{TRACE}-{PARENT}-ff-more")  # of a later version of the W3C's
        stub.Classify(REQUEST, metadata=[later, ("x-request-id", "later")])
    assert attributes(spans.next())["serving.request_id"] == "later"


def test_http_is_traced_alike(traced: Recording, spans: Collector) -> None:
    headers = {"traceparent": SAMPLED, "tracestate": "x" * 10_000, "x-request-id": "http-1"}
    with httpx.Client(base_url=traced.server.http, trust_env=False) as client:
        answer = client.put("/v1/classify?top_k=1", content=png(1).encoded, headers=headers)
        assert answer.status_code == 200
        span = spans.next()
        refused = client.put("/v1/classify", content=b"no image", headers={"traceparent": SAMPLED})
        bad = spans.next()
        client.get("/nowhere", headers={"traceparent": SAMPLED})
        nowhere = spans.next()
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert span.trace_state == ""
    assert span.name == "PUT /v1/classify"
    assert [event.name for event in span.events] == STAGES
    said = attributes(span)
    assert said["http.request.method"] == "PUT"
    assert said["url.path"] == "/v1/classify"
    assert said["http.response.status_code"] == 200
    assert said["http.request.body.size"] == len(png(1).encoded)
    assert said["serving.images"] == 1
    assert refused.status_code == attributes(bad)["http.response.status_code"] == 400
    assert bad.status.code == Status.STATUS_CODE_UNSET  # it is the caller's mistake
    assert attributes(nowhere)["http.response.status_code"] == 404


def test_each_message_of_a_stream_has_a_span(traced: Recording, spans: Collector) -> None:
    context = ("traceparent", SAMPLED), ("x-request-id", "stream")
    bad = pb.ClassifyRequest(images=[pb.Image(encoded=b"no image")])
    with traced.calling() as stub:
        assert len([*stub.ClassifyStream(iter([REQUEST, bad]), metadata=context)]) == 2
    found = {attributes(span)["serving.request_id"]: span for span in (spans.next(), spans.next())}
    assert set(found) == {"stream/1", "stream/2"}
    assert {span.parent_span_id.hex() for span in found.values()} == {PARENT}
    assert len({span.span_id for span in found.values()}) == 2
    codes = {name: attributes(span)["rpc.grpc.status_code"] for name, span in found.items()}
    assert codes == {"stream/1": 0, "stream/2": grpc.StatusCode.INVALID_ARGUMENT.value[0]}


def test_the_histogram_names_a_trace(traced: Recording, spans: Collector) -> None:
    with traced.calling() as stub:
        stub.Classify(REQUEST, metadata=[("traceparent", SAMPLED)])
    spans.next()
    accept = {"accept": "application/openmetrics-text"}
    text = httpx.get(f"{traced.server.http}/metrics", headers=accept, trust_env=False).text
    pattern = (
        rf'serving_stage_seconds_bucket{{.*stage="total".*}} \S+ # {{trace_id="{TRACE}"}} (\S+)'
    )
    assert [float(took_s) for took_s in re.findall(pattern, text)]
    assert len(re.findall("# {trace_id", text)) == len(re.findall(pattern, text))
    plain = httpx.get(f"{traced.server.http}/metrics", trust_env=False).text
    assert "trace_id" not in plain
    assert 'serving_spans_total{outcome="exported"}' in plain


def test_what_comes_without_a_context_is_traced_by_share(
    tiny: Path, collector: tuple[Collector, str]
) -> None:
    spans, url = collector
    with recording(tiny, "--otlp-endpoint", url, "--trace-share", "1") as server:
        with server.calling() as stub:
            stub.Classify(REQUEST, metadata=[("traceparent", UNSAMPLED)])
            stub.Classify(REQUEST, metadata=[("x-request-id", "root")])
        span = spans.next()
    assert attributes(span)["serving.request_id"] == "root"
    assert span.parent_span_id == b""
    assert len(span.trace_id) == 16


def test_a_collector_that_comes_later_and_one_that_never_answers(tiny: Path) -> None:
    with collecting() as (_, url):
        pass
    with recording(tiny, "--otlp-endpoint", url, "--trace-share", "1") as server:
        with server.calling() as stub:
            stub.Classify(REQUEST, metadata=[("x-request-id", "early")])
        while "retrying" not in (line := server.lines.get(timeout=60) or "retrying: the log ended"):
            pass
        assert "the log ended" not in line
        with collecting(int(url.rpartition(":")[2])) as (collector, _):
            assert attributes(collector.next())["serving.request_id"] == "early"
            collector.is_held = True
            with server.calling() as stub:
                for _ in range(3):
                    stub.Classify(REQUEST)
                assert collector.held.wait(60)
                stub.Classify(REQUEST)
            # It answers, and ends in time; what it could not export is counted.
            log = server.rest()
    assert "spans are lost" in log


def test_the_end_of_the_server_exports_what_waits(tiny: Path) -> None:
    with collecting() as (collector, url):
        with recording(tiny, "--otlp-endpoint", url, "--trace-share", "1") as server:
            with server.calling() as stub:
                stub.Classify(REQUEST, metadata=[("x-request-id", "last")])
            log = server.rest()
        assert server.server.process.returncode == 0
        assert "lost" not in log
        assert attributes(collector.next())["serving.request_id"] == "last"


def test_headers_for_the_collector_come_from_opentelemetry_variables(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer secret")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "photos")
    with collecting() as (collector, url):
        with (
            recording(tiny, "--otlp-endpoint", url, "--trace-share", "1") as server,
            server.calling() as stub,
        ):
            stub.Classify(REQUEST)
        collector.next()
    assert collector.headers[0]["authorization"] == "Bearer secret"
    assert collector.resources[0]["service.name"] == "photos"
