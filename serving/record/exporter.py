"""Sends the spans of traced requests to a collector; no request ever waits for it."""

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter

from serving.errors import StartupError
from serving.record.record import Record

logger = logging.getLogger(__name__)

Outcome = Literal["exported", "failed", "dropped"]

LONGEST_QUEUE = 4096  # records
LARGEST_BATCH = 512  # spans in one message
# How long a span may wait for others, in seconds.
INTERVAL_S = 1.0
# How long the collector may take for a batch, repeated attempts included, in seconds.
TIMEOUT_S = 10
# How long the end of the server waits for it, in seconds.
FLUSH_S = 0.5

INSTALL = (
    "--otlp-endpoint needs OpenTelemetry, the extra `tracing`: pip install "
    "'resnext-serving[tracing]', or, in a checkout, make .venv/.tracing"
)


class SpanExporter:
    """Makes records into spans and sends them, a batch at a time, on a thread of its own.

    If the collector is away, slow, or refuses, spans are lost and counted: those of a batch that it
    did not take as `failed`, those that no longer fit into the queue as `dropped`.

    Args:
        endpoint: the collector's URL.
        version: of the server.
        registry: gets the counter.

    Raises:
        StartupError: OpenTelemetry is not installed, or one of its variables is wrong.
    """

    def __init__(self, endpoint: str, version: str, registry: CollectorRegistry) -> None:
        try:
            # Here: it is installed, and loaded, only where it is wanted.
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.trace.export import SpanExportResult

            from serving.record import spans
        except ModuleNotFoundError as error:
            raise StartupError(f"{INSTALL} ({error})") from error
        try:
            self._exporter = OTLPSpanExporter(endpoint, timeout=TIMEOUT_S)
        except Exception as error:
            raise StartupError(f"a variable OTEL_EXPORTER_OTLP_… is wrong: {error}") from error
        self._success, self._to_span = SpanExportResult.SUCCESS, spans.to_span
        self._resource = spans.resource(version)
        counter = Counter(
            "serving_spans_total",
            "Spans of traced requests: exported to the collector, failed because it did not take "
            "them, or dropped because too many waited for it",
            ("outcome",),
            registry=registry,
        )
        self.spans: dict[Outcome, Counter] = {
            outcome: counter.labels(outcome) for outcome in get_args(Outcome)
        }
        # Appending to a deque, and taking from it, are single steps: no lock.
        self._queue: deque[Record] = deque()
        self._wake, self._is_closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def __call__(self, record: Record) -> None:  # any thread
        """Have a record exported, or drop it if too many wait; never block."""
        if len(self._queue) >= LONGEST_QUEUE:
            self.spans["dropped"].inc(1)
            return
        self._queue.append(record)
        if len(self._queue) >= LARGEST_BATCH:
            self._wake.set()

    def close(self) -> None:
        """Export what waits, but give up after `FLUSH_S` seconds."""
        self._is_closing.set()
        self._wake.set()
        self._thread.join(FLUSH_S)
        self._exporter.shutdown()  # ends an attempt that is on its way
        if lost := len([*self._taken()]):
            self.spans["dropped"].inc(lost)
            logger.warning("%d spans are lost: the collector did not take them in time", lost)

    def _run(self) -> None:
        while not self._is_closing.is_set():
            self._wake.wait(INTERVAL_S)
            self._wake.clear()
            while records := [*islice(self._taken(), LARGEST_BATCH)]:
                self._export(records)

    def _taken(self) -> Iterator[Record]:
        """Take records from the queue; another thread may do so at the same time."""
        with suppress(IndexError):
            while True:
                yield self._queue.popleft()

    def _export(self, records: list[Record]) -> None:
        try:
            batch = [self._to_span(r, r.trace, self._resource) for r in records if r.trace]
            is_taken = self._exporter.export(batch) is self._success
        except Exception:  # the next batch may do better
            logger.exception("spans cannot be exported")
            is_taken = False
        self.spans["exported" if is_taken else "failed"].inc(len(records))
