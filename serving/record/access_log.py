"""The access log: one line for each request, made on the log's own thread."""

from collections.abc import Callable
from functools import partial
from logging import Formatter, makeLogRecord

from serving.record.lines import as_json, as_text, presentable, utc
from serving.record.record import Record
from serving.settings.record import Form

LOGGER = "serving.access"
# Of entries that wait to be written. The log takes twice as many: requests that come faster than it
# is read must not keep warnings and errors out of it.
LONGEST_QUEUE = 500
_clock = Formatter()


class AccessLog:
    """Writes a line for each record, or for each that did not end well.

    Args:
        put: takes what makes a line, unless so many entries wait; is never waited for.
        form: how the line looks.
        only_errors: whether requests that ended well have none.
    """

    def __init__(
        self, put: Callable[[Callable[[], str], int], None], form: Form, *, only_errors: bool
    ) -> None:
        self._put, self._only_errors = put, only_errors
        self._line = json_line if form == "json" else text_line

    def __call__(self, record: Record) -> None:
        """Write a record."""
        if not (self._only_errors and record.is_ok):
            self._put(partial(self._line, record), LONGEST_QUEUE)


def json_line(record: Record) -> str:
    """Return a line of JSON, with the keys of every other line of the log before its own."""
    head = {"time": utc(record.ended_unix_s), "level": "INFO", "logger": LOGGER}
    return as_json(head | fields(record))


def text_line(record: Record) -> str:
    """Return a line of text, which begins as every other line of the log does."""
    moment = makeLogRecord({"created": record.ended_unix_s})
    moment.msecs = int(record.ended_unix_s % 1 * 1000)
    return f"{_clock.formatTime(moment)} INFO    {LOGGER}: {as_text(fields(record))}"


def fields(record: Record) -> dict[str, object]:
    """Return what a line says; what is not known is left out. Times are in milliseconds."""
    said: dict[str, object] = {
        "id": presentable(record.request_id),
        "message_id": presentable(record.message_id),
        "trace": record.trace_id,
        "peer": record.peer,
        "caller": record.caller,
        "method": presentable(record.method),
        "model": record.model,
        "version": record.version,
        **_images(record),
        "bytes": record.nbytes,
        "code": record.code,
        "ms": _ms(record.ended_s - record.arrived_s),
        **_stages(record),
        **_left(record),
        "error": presentable(record.error),
    }
    return {key: value for key, value in said.items() if value != ""}


def _images(record: Record) -> dict[str, object]:
    if not record.images:
        return {}
    return {"images": record.images, "failed_images": record.failed_images}


def _stages(record: Record) -> dict[str, object]:
    if not (timing := record.timing):
        return {}
    return {
        "decode_ms": _ms(timing.decode_s),
        "queue_ms": _ms(timing.queue_s),
        "infer_ms": _ms(timing.infer_s),
        "batch_images": timing.batch_images,
    }


def _left(record: Record) -> dict[str, object]:
    if record.deadline_s is None:
        return {}
    return {"left_ms": _ms(record.deadline_s - record.ended_s)}


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
