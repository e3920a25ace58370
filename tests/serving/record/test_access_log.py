"""The access log of a real server."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from protos import classifier_pb2 as pb
from serving.access.tokens import line as token_line
from serving.access.tokens import new_token
from serving.engine.job import Timing
from serving.record.access_log import json_line, text_line
from serving.record.lines import LONGEST_TEXT
from serving.record.record import Record, Trace
from tests.serving.api.messages import png
from tests.serving.record.collector import Recording, recording
from tests.support.paths import ROOT

REQUEST = pb.ClassifyRequest(images=[png(1), png(2)], id="mine", top_k=1)
BROKEN = pb.Image(encoded=b"no image")
COLOUR = "\x1b[31m\u202e\n2026-01-01 ERROR"


def endless(end: threading.Event) -> Iterator[pb.ClassifyRequest]:
    """One request, and then no end until the event."""
    yield REQUEST
    end.wait(60)


KEYS = [
    "time", "level", "logger", "id", "message_id", "peer", "method", "model", "version", "images",
    "failed_images", "bytes", "code", "ms", "decode_ms", "queue_ms", "infer_ms", "batch_images",
    "left_ms",
]  # fmt: skip


@pytest.fixture(scope="module")
def logged(tiny: Path) -> Iterator[Recording]:
    with recording(tiny, "--access-log", "all", "--log-format", "json") as server:
        yield server


def test_a_line_says_what_became_of_a_request(logged: Recording) -> None:
    with logged.calling() as stub:
        response = stub.Classify(REQUEST, timeout=20, metadata=[("x-request-id", "one")])
    line = logged.access("one")
    assert [*line] == KEYS
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert line["peer"] in ("127.0.0.1", "::1")
    expected = {
        "level": "INFO", "logger": "serving.access", "message_id": "mine", "code": "OK",
        "method": "/resnext.serving.v1.Classifier/Classify", "model": "tiny", "version": "1",
        "images": 2, "failed_images": 0, "bytes": REQUEST.ByteSize(),
    }  # fmt: skip
    assert line.items() >= expected.items()
    timing = max((r.timing for r in response.results), key=lambda each: each.total_ms)
    assert line["infer_ms"] == pytest.approx(timing.infer_ms, abs=0.001)
    assert line["queue_ms"] == pytest.approx(timing.queue_ms, abs=0.001)
    assert line["batch_images"] == timing.batch_images
    assert line["decode_ms"] + line["infer_ms"] <= line["ms"]
    assert 0 < line["left_ms"] < 20_000


def test_a_line_for_each_way_in_which_a_call_can_end(logged: Recording) -> None:
    def metadata(request_id: str) -> list[tuple[str, str]]:
        return [("x-request-id", request_id)]

    with logged.calling() as stub:
        with pytest.raises(grpc.RpcError):
            stub.Classify(pb.ClassifyRequest(images=[BROKEN]), metadata=metadata("broken"))
        mixed = pb.ClassifyRequest(images=[png(1), BROKEN])
        stub.Classify(mixed, metadata=metadata("mixed"))
        with pytest.raises(grpc.RpcError):
            stub.GetModel(pb.GetModelRequest(model=COLOUR), metadata=metadata("unknown"))
        stub.GetModel(pb.GetModelRequest(), metadata=metadata("described"))
        requests = iter([REQUEST, pb.ClassifyRequest()])
        assert len([*stub.ClassifyStream(requests, metadata=metadata("stream"))]) == 2
    broken, mixed_line = logged.access("broken"), logged.access("mixed")
    assert (broken["code"], broken["images"], broken["failed_images"]) == ("INVALID_ARGUMENT", 1, 1)
    assert "infer_ms" not in broken
    assert "not" in broken["error"]
    assert (mixed_line["code"], mixed_line["failed_images"]) == ("OK", 1)
    unknown = logged.access("unknown")
    assert unknown["code"] == "NOT_FOUND"
    assert "2026-01-01 ERROR" in unknown["error"]
    described = logged.access("described")
    assert described["code"] == "OK"
    assert "images" not in described
    messages = [json.loads(logged.lines.get(timeout=60) or "") for _ in range(2)]
    assert {line["id"]: line["code"] for line in messages} == {
        "stream/1": "OK",
        "stream/2": "INVALID_ARGUMENT",
    }


def test_http_has_lines_too(logged: Recording) -> None:
    with httpx.Client(base_url=logged.server.http, trust_env=False) as client:
        body, name = png(1).encoded, {"x-request-id": "good"}
        client.put("/v1/classify?top_k=1", content=body, headers=name)
        client.post("/v1/classify", content=b"no image", headers={"x-request-id": "bad"})
        client.get("/" + "x" * 2000, headers={"x-request-id": "long"})
        client.delete("/healthz", headers={"x-request-id": "method"})
    good = logged.access("good")
    expected = {"method": "PUT /v1/classify", "code": "200", "bytes": len(body), "images": 1}
    assert good.items() >= (expected | {"model": "tiny", "version": "1"}).items()
    assert good["decode_ms"] + good["infer_ms"] <= good["ms"]
    bad = logged.access("bad")
    assert (bad["code"], bad["images"]) == ("400", 1)
    assert bad["error"]
    long = logged.access("long")
    assert long["code"] == "404"
    assert len(long["method"]) < LONGEST_TEXT + 50
    assert logged.access("method")["code"] == "405"


def test_a_request_that_is_no_http_has_a_line(logged: Recording) -> None:
    with socket.create_connection(("127.0.0.1", logged.http_port)) as connection:
        connection.sendall(b"GET /some HTTP/1.1\r\nHost: x\r\nBad\r\n")
        said = connection.makefile("rb").read().decode()
    assert said.startswith("HTTP/1.1 400 ")
    [request_id] = re.findall("x-request-id: (.+)\r\n", said)
    line = logged.access(request_id)
    assert (line["code"], line["method"]) == ("400", "GET /some")
    assert "this is not HTTP/1.1" in line["error"]


def test_a_stream_that_its_caller_left_has_a_line_of_its_own(logged: Recording) -> None:
    with logged.calling() as stub:
        waiting = threading.Event()
        stream = stub.ClassifyStream(endless(waiting), metadata=[("x-request-id", "gone")])
        next(stream)
        stream.cancel()
        waiting.set()
    # The caller has the answer before the server knows that it went, and may leave in between.
    codes = logged.codes("gone", "gone/1")
    assert codes["gone"] == "CANCELLED"
    assert codes["gone/1"] in ("OK", "CANCELLED")


def test_a_deadline_that_passes_is_told_from_a_caller_who_leaves() -> None:
    record_of_call = record(code="", arrived_s=10.0, deadline_s=12.0)
    record_of_call.leave(11.9)
    other = record(code="", arrived_s=10.0, deadline_s=12.0)
    other.leave(11.98)  # the caller's clock is ahead, by as much as gRPC rounds
    assert (record_of_call.code, other.code) == ("CANCELLED", "DEADLINE_EXCEEDED")


def test_a_stream_whose_requests_ended_because_its_caller_left_is_not_ok() -> None:
    written = list[Record]()
    stream = record(code="", is_stream=True)
    stream.write = written.append
    stream.end("OK")
    stream.leave(11.0)
    stream.close()
    assert [(each.code, each.error) for each in written] == [("CANCELLED", "the caller has left")]


def test_an_error_that_the_server_sent_outlasts_the_caller() -> None:
    refused = record(code="")
    refused.end("UNAVAILABLE", "the server is draining")
    refused.leave(11.0)
    assert (refused.code, refused.error) == ("UNAVAILABLE", "the server is draining")


def test_a_line_names_the_caller_and_no_token(tiny: Path, tmp_path: Path) -> None:
    token, tokens = new_token(), tmp_path / "tokens"
    tokens.write_text(token_line("photo-app", token, "classify"))
    flags = "--access-log", "all", "--log-format", "json", "--token-file", str(tokens)
    with recording(tiny, *flags) as server:
        bearer = ("authorization", f"Bearer {token}")
        with server.calling() as stub:
            stub.Classify(REQUEST, metadata=[bearer, ("x-request-id", "let-in")])
            with pytest.raises(grpc.RpcError):
                stub.Classify(REQUEST, metadata=[("x-request-id", "refused")])
        let_in, refused = server.access("let-in"), server.access("refused")
        with httpx.Client(base_url=server.server.http, trust_env=False) as client:
            client.put("/v1/classify", content=png(1).encoded, headers=dict([bearer]))
            client.get(f"/{token}", headers={"x-request-id": token})
            client.put(f"/v1/classify?model={token}", content=b"x", headers=dict([bearer]))
            client.put("/v1/classify", content=b"x", headers={"x-request-id": "http"})
        log = server.rest()
    assert (let_in["caller"], let_in["code"]) == ("photo-app", "OK")
    assert (refused.get("caller"), refused["code"]) == (None, "UNAUTHENTICATED")
    lines = [json.loads(line) for line in log.splitlines() if "serving.access" in line]
    callers = [(line.get("caller"), line["code"]) for line in lines]
    assert callers == [("photo-app", "200"), (None, "401"), ("photo-app", "404"), (None, "401")]
    assert (lines[1]["id"], lines[1]["method"]) == ("rxs_…", "GET /rxs_…")
    assert token not in log


def test_a_caller_who_lacks_the_role_is_named(tiny: Path, tmp_path: Path) -> None:
    token, tokens = new_token(), tmp_path / "tokens"
    tokens.write_text(token_line("prometheus", token, "read"))
    flags = "--access-log", "all", "--log-format", "json", "--token-file", str(tokens)
    headers = {"authorization": f"Bearer {token}", "x-request-id": "http"}
    with recording(tiny, *flags) as server:
        with server.calling() as stub, pytest.raises(grpc.RpcError):
            stub.Classify(REQUEST, metadata=[*(headers | {"x-request-id": "grpc"}).items()])
        with httpx.Client(base_url=server.server.http, trust_env=False) as client:
            client.put("/v1/classify", content=png(1).encoded, headers=headers)
        grpc_line, http_line = server.access("grpc"), server.access("http")
    assert (grpc_line["caller"], grpc_line["code"]) == ("prometheus", "PERMISSION_DENIED")
    assert (http_line["caller"], http_line["code"]) == ("prometheus", "403")


def test_only_errors(tiny: Path) -> None:
    with recording(tiny, "--access-log", "errors", "--log-level", "WARNING") as server:
        with server.calling() as stub:
            stub.Classify(REQUEST, metadata=[("x-request-id", "good")])
            with pytest.raises(grpc.RpcError):
                stub.Classify(
                    pb.ClassifyRequest(images=[png(1)], model="x" * 50),
                    metadata=[("x-request-id", "bad")],
                )
        line, *others = server.rest().splitlines()
    assert others == []
    pattern = (
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO    serving\.access: id=bad peer=\S+ "
        r"method=/resnext\.serving\.v1\.Classifier/Classify bytes=\d+ code=NOT_FOUND "
        r'ms=[\d.]+ error=".+"'
    )
    assert re.fullmatch(pattern, line)


def test_every_other_line_of_the_log_is_json_too(tiny: Path, tmp_path: Path) -> None:
    with recording(tiny, "--log-format", "json") as server:
        log = server.rest()
    lines = [json.loads(line) for line in log.splitlines()]
    assert "drained" in [line["message"] for line in lines]
    assert all([*line][:4] == ["time", "level", "logger", "message"] for line in lines)


def record(**fields: Any) -> Record:
    """A record that is closed."""
    known = {"ended_s": 2.0, "ended_unix_s": 1.8e9, "code": "OK", "peer": "::1", "trace": None}
    return Record(lambda _: None, "id", "/a/B", **({"arrived_s": 1.0} | known | fields))


@pytest.mark.parametrize("line", [json_line, text_line])
@pytest.mark.parametrize("field", ["error", "message_id", "request_id", "method"])
def test_nothing_from_outside_begins_a_line_or_colours_it(field: str, line: Any) -> None:
    hostile = record()
    setattr(hostile, field, COLOUR + '\x00\x7f\x9b "quoted" a=b \u2028 \ud800')
    said = line(hostile)
    assert said.isascii()
    assert said.isprintable()
    setattr(hostile, field, "é" * 1_000_000)
    assert len(line(hostile)) < 6 * LONGEST_TEXT + 500


def test_text_can_be_read_back() -> None:
    said = text_line(record(error='say "no" = never', caller="photo-app"))
    assert said.endswith(r'code=OK ms=1000.0 error="say \"no\" = never"')
    assert " caller=photo-app " in said


def test_the_page_tells_every_key(logged: Recording) -> None:
    page = (ROOT / "docs/observability.md").read_text()
    [example] = re.findall("```json\n(.*)\n```", page)
    with logged.calling() as stub:
        stub.Classify(pb.ClassifyRequest(images=[png(1)]), metadata=[("x-request-id", "page")])
    assert [*json.loads(example)] == [*logged.access("page")]
    known = re.findall("^    (.* serving.access: .*)$", page, re.MULTILINE)
    assert re.findall(r" (\w+)=", known[0]) == [*json.loads(example)][3:]
    rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    table = {key for row in rows for key in row.split("`")}
    everything = record(
        message_id="m", caller="c", model="m", version="1", images=1, deadline_s=1.0, error="e",
        trace=Trace.begin(None), timing=Timing(*[0.0] * 5, 1, 0.0),
    )  # fmt: skip
    assert {*json.loads(json_line(everything))} <= table
