"""The server's log, on standard error: nobody who logs ever waits for its reader.

A thread of its own writes the lines. If nobody reads them, the thread waits, its queue fills, and
what does not fit is dropped and counted, in `serving_log_lines_dropped_total`. So no stranger can
stop the server by making it log. Nor can one fill a disk, or write lines of their own:

- of warnings and errors that one place in the code logs, one passes each second, and the next one
  says how many did not;
- an entry has a bounded length, control characters are escaped, and only its first line begins at
  the margin.
"""

import logging
import os
import select
import sys
import threading
import time
import warnings
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Literal, TextIO, get_args

from prometheus_client import Counter

from serving.record.lines import as_json, utc
from serving.settings.record import Form

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
LONGEST_ENTRY = 8_000  # characters; a traceback of ours has about 3,000
LONGEST_QUEUE = 1_000  # entries
FLUSH_S = 1.0
INTERVAL_S = 1.0
Reason = Literal["repeated", "full", "unwritable"]
Line = str | Callable[[], str]  # without its end
Cause = tuple[str, int, type[BaseException] | None]

# One per process, as the log is; `Metrics` registers it.
DROPPED = Counter(
    "serving_log_lines_dropped_total",
    "Entries that are not in the log: repeated within a second, more than a slow reader lets in "
    "(full), or unwritable",
    ("reason",),
    registry=None,
)
_formatter = logging.Formatter()
_dropped = {reason: DROPPED.labels(reason) for reason in get_args(Reason)}

logger = logging.getLogger(__name__)


def start(level: str, form: Form = "text") -> None:
    """Log to standard error from now on, faults of threads and finalizers too; no `warnings`.

    A warning is for who writes a program. Python remembers each in memory for ever, and image
    libraries make them of what is in a file. `python -W` or PYTHONWARNINGS asks for them.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    handler = (JsonHandler if form == "json" else LogHandler)(Writer(sys.stderr))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    threading.excepthook = _log_thread
    sys.unraisablehook = _log_unraisable


def writer() -> "Writer":
    """Return what writes the log that has been started; a new one if none has."""
    for handler in logging.root.handlers:
        if isinstance(handler, LogHandler):
            return handler.writer
    return Writer(sys.stderr)


def dropped() -> dict[Reason, Counter]:
    """Return the counters of entries that are not in the log, by the reason."""
    return _dropped


def announce(text: str) -> None:
    """Print a line on standard output, from a thread of its own: perhaps nobody reads it."""
    file, data = sys.stdout.fileno(), f"{text}\n".encode(sys.stdout.encoding, "backslashreplace")

    def write() -> None:
        try:
            _write(file, data)
        except OSError as error:
            logger.warning("standard output cannot be written: %s", error.strerror)

    threading.Thread(target=write, name="announce", daemon=True).start()


class Writer:
    """Writes texts to a stream's file, in order, on a thread of its own."""

    def __init__(self, stream: TextIO) -> None:
        # Not through the stream: its lock would be held while a write blocks, even at exit.
        self._file, self._encoding = stream.fileno(), stream.encoding
        # Unlike a Queue's, its `put` may be interrupted by a finalizer that logs.
        self._queue: SimpleQueue[Line | threading.Event] = SimpleQueue()
        self._flushed = threading.Event()
        self._flushed.set()
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def put(self, line: Line, longest_queue: int = LONGEST_QUEUE) -> None:
        """Have an entry written, or drop it if so many wait; never block.

        A callable is called on the thread that writes.
        """
        if self._queue.qsize() < longest_queue:
            self._queue.put(line)
        else:
            _dropped["full"].inc()

    def flush(self, timeout_s: float) -> None:
        """Wait until all is written, but not longer than `timeout_s` seconds."""
        if self._flushed.is_set():  # else nobody reads, as the last time showed
            self._flushed = threading.Event()
            self._queue.put(self._flushed)
            self._flushed.wait(timeout_s)

    def _run(self) -> None:
        while True:
            entry = self._queue.get()
            if isinstance(entry, threading.Event):
                entry.set()
                continue
            try:
                text = entry if isinstance(entry, str) else entry()
                _write(self._file, f"{text}\n".encode(self._encoding, "backslashreplace"))
            except OSError:
                _dropped["unwritable"].inc()
            except Exception:  # what logs must go on
                logger.exception("an entry cannot be made")


class LogHandler(logging.Handler):
    """Hands entries to a writer; of warnings and errors with the same cause, one per second."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(FORMAT))
        self.writer = writer
        # By cause: when the last one passed, and how many have not since. There are no more than
        # places in the code that log.
        self._passed: dict[Cause, tuple[float, int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Hand an entry to the writer, or drop it; never block."""
        repeated = self._repeated(record)
        if repeated is None:
            _dropped["repeated"].inc()
            return
        try:
            text = self._entry(record, repeated)
        except Exception:  # noqa: BLE001 - logged; what calls a logger must not fail
            self.handleError(record)
            return
        self.writer.put(text)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Log that an entry could not be formatted, and where it came from."""
        logger.error("%s:%d cannot be logged", record.pathname, record.lineno, exc_info=True)

    def flush(self) -> None:
        """Wait for a reader that reads; `logging.shutdown` calls it at exit."""
        self.writer.flush(FLUSH_S)

    def _entry(self, record: logging.LogRecord, repeated: int) -> str:
        head, newline, traceback = self.format(record).partition("\n")
        if repeated:
            head += f" (and {repeated} more since the last such line)"
        return _safe(head + newline + traceback)

    def _repeated(self, record: logging.LogRecord) -> int | None:
        """Return how many entries like this were dropped before it, or None to drop it as well."""
        if record.levelno < logging.WARNING:  # of the server's own life: nobody else causes them
            return 0
        kind = record.exc_info[0] if record.exc_info else None
        cause = record.pathname, record.lineno, kind
        now = time.monotonic()
        last, dropped = self._passed.get(cause, (-INTERVAL_S, 0))
        if now - last < INTERVAL_S:
            self._passed[cause] = last, dropped + 1
            return None
        self._passed[cause] = now, 0
        return dropped


class JsonHandler(LogHandler):
    """The same, with an object of JSON for each entry."""

    def _entry(self, record: logging.LogRecord, repeated: int) -> str:
        fields: dict[str, object] = {
            "time": utc(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": _bounded(record.getMessage()),
        }
        if record.exc_info:
            fields["exception"] = _bounded(_formatter.formatException(record.exc_info))
        if repeated:
            fields["repeated"] = repeated
        return as_json(fields)


def _write(file: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(file, data) :]
        except BlockingIOError:  # another process has made the same pipe non-blocking
            select.select([], [file], [])


def _safe(text: str) -> str:
    """Return a text of bounded length; what could be taken for another entry is indented."""
    return "\n    ".join(map(_printable, _bounded(text).split("\n")))


def _bounded(text: str) -> str:
    """Return a text without its middle if it is too long."""
    if len(text) <= LONGEST_ENTRY:
        return text
    half = LONGEST_ENTRY // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"


def _printable(line: str) -> str:
    """Return a line with its control characters escaped, as Python writes them in a string."""
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def _log_thread(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_type is not SystemExit:
        name = failed.thread.name if failed.thread else "unknown"
        logger.error("thread %s failed", name, exc_info=_info(failed.exc_value))


def _log_unraisable(failed: "sys.UnraisableHookArgs") -> None:
    where = failed.err_msg or "exception ignored in"
    logger.error("%s: %r", where, failed.object, exc_info=_info(failed.exc_value))


def _info(
    error: BaseException | None,
) -> tuple[type[BaseException], BaseException, TracebackType | None] | None:
    return (type(error), error, error.__traceback__) if error else None
