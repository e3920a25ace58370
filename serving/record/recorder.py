"""Which requests are recorded, and where their records go."""

import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Self

from prometheus_client import CollectorRegistry, Counter

from serving import logs
from serving.record.access_log import AccessLog
from serving.record.exporter import SpanExporter
from serving.record.record import Record, Trace
from serving.record.trace_context import may_be_sampled, trace_context
from serving.settings.record import RecordSettings

Write = Callable[[Record], None]


class Recorder:
    """Begins the records of a server; any thread may call.

    Args:
        log: writes a line of the access log; None if there is none.
        export: sends the spans of those that are traced; None if there is no collector.
        trace_share: which share of those requests is traced that come without a trace context.
    """

    def __init__(self, log: Write | None, export: SpanExporter | None, trace_share: float) -> None:
        self._log, self._export, self._trace_share = log, export, trace_share

    @classmethod
    def create(
        cls, settings: RecordSettings, version: str, registry: CollectorRegistry
    ) -> Self | None:
        """Return what the settings ask for, None if that is nothing.

        Raises StartupError if there is no OpenTelemetry, which a collector needs.
        """
        log = export = None
        if settings.access_log != "off":
            only_errors = settings.access_log == "errors"
            put = logs.writer().put
            log = AccessLog(put, settings.log_format, only_errors=only_errors)
        if settings.otlp_endpoint:
            export = SpanExporter(settings.otlp_endpoint, version, registry)
        return cls(log, export, settings.trace_share) if log or export else None

    @property
    def spans(self) -> Mapping[str, Counter]:
        """The counters of spans, by what became of them; none without a collector."""
        spans = self._export.spans if self._export else {}
        return {str(outcome): counter for outcome, counter in spans.items()}

    def close(self) -> None:
        """Export what waits, for a bounded time."""
        if self._export:
            self._export.close()

    def begin(
        self, request_id: str, method: str, headers: Iterable[tuple[str, str]], arrived_s: float
    ) -> Record | None:
        """Return the record of a request that begins, None if nobody wants one.

        Args:
            request_id: its id.
            method: what is called.
            headers: names in small letters, and values.
            arrived_s: when it came, on the monotonic clock, in seconds.
        """
        trace = self._trace(headers) if self._export else None
        if not (trace or self._log):
            return None
        return Record(self._write, request_id, method, arrived_s, trace)

    def _trace(self, headers: Iterable[tuple[str, str]]) -> Trace | None:
        """Return the span of a request; whoever has a trace decides whether it goes on here."""
        if not (self._trace_share or may_be_sampled(headers)):
            return None
        parent = trace_context(headers)
        is_traced = parent.is_sampled if parent else random.random() < self._trace_share  # noqa: S311
        return Trace.begin(parent) if is_traced else None

    def _write(self, record: Record) -> None:
        record.ended_s, record.ended_unix_s = time.monotonic(), time.time()
        if self._log:
            self._log(record)
        if self._export and record.trace:
            self._export(record)
