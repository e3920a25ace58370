"""A collector of traces that speaks OTLP over gRPC, and servers whose log is read."""

import json
import queue
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from protos.classifier_pb2_grpc import ClassifierStub
from tests.support.process import Server, ready, start

WAIT_S = 60


class Collector(service_grpc.TraceServiceServicer):
    """Takes spans, unless it is told to refuse; `resources` holds what came with them."""

    def __init__(self) -> None:
        self.spans: queue.Queue[Span] = queue.Queue()
        self.resources: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.is_held = False
        self.held = threading.Event()

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Take a batch."""
        if self.is_held:
            self.held.set()
            threading.Event().wait(WAIT_S)
        self.headers.append({key: str(value) for key, value in context.invocation_metadata()})
        for each in request.resource_spans:
            self.resources.append(attributes(each.resource))
            for scope in each.scope_spans:
                for span in scope.spans:
                    self.spans.put(span)
        return service.ExportTraceServiceResponse()

    def next(self) -> Span:
        """Return the next span, whenever it comes."""
        return self.spans.get(timeout=WAIT_S)


@contextmanager
def collecting(port: int = 0) -> Iterator[tuple[Collector, str]]:
    """Run a collector; yield it and its URL."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(4, "collector"))
    service_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield collector, f"http://127.0.0.1:{port}"
    finally:
        server.stop(0).wait(WAIT_S)


def attributes(has: Any) -> dict[str, Any]:
    """Return the attributes of a span, an event or a resource."""
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value")) for each in has.attributes
    }


class Recording(NamedTuple):
    """A server process, and the lines of its log as they come; None at their end."""

    server: Server
    lines: "queue.Queue[str | None]"

    @property
    def http_port(self) -> int:
        """The port of HTTP."""
        return int(self.server.http.rpartition(":")[2])

    def access(self, request_id: str) -> dict[str, Any]:
        """Return the line of a request in an access log of JSON, and pass over those before it."""
        while (line := self.lines.get(timeout=WAIT_S)) is not None:
            said: dict[str, Any] = json.loads(line)
            if said.get("id") == request_id:
                return said
        raise AssertionError("the log ended")

    def codes(self, *request_ids: str) -> dict[str, str]:
        """Return the codes of requests whose lines may come in any order."""
        found: dict[str, str] = {}
        while found.keys() != {*request_ids}:
            line = self.lines.get(timeout=WAIT_S)
            assert line, "the log ended"
            said: dict[str, Any] = json.loads(line)
            if said.get("id") in request_ids:
                found[said["id"]] = said["code"]
        return found

    def rest(self) -> str:
        """End the server, and return all that it logged since."""
        self.server.process.send_signal(signal.SIGTERM)
        return "".join(iter(lambda: self.lines.get(timeout=WAIT_S) or "", ""))

    @contextmanager
    def calling(self) -> Iterator[ClassifierStub]:
        """Yield a stub that calls it."""
        with grpc.insecure_channel(self.server.grpc) as channel:
            yield ClassifierStub(channel)


@contextmanager
def recording(model: Path, *flags: str) -> Iterator[Recording]:
    """Run a server of a bundle; it must end well."""
    process = start(model, *flags)
    lines: queue.Queue[str | None] = queue.Queue()

    def read(log: Sequence[str]) -> None:
        for line in log:
            lines.put(line)
        lines.put(None)

    reader = threading.Thread(target=read, args=(process.stderr,))
    reader.start()
    try:
        yield Recording(ready(process), lines)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
    finally:
        process.kill()
        process.wait()
        reader.join()
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()
