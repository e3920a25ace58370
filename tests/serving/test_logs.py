"""The log: nobody waits for its reader, and no stranger writes it."""

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from typing import TextIO

import pytest

from serving import logs
from serving.logs import DROPPED, LONGEST_ENTRY, LONGEST_QUEUE, LogHandler, Writer, announce

COLOUR = "\x1b[31mred\u202e\x9b2J"


def dropped(reason: str) -> float:
    [metric] = DROPPED.collect()
    return next(
        s.value for s in metric.samples if s.labels == {"reason": reason} and "_t" in s.name
    )


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """A pipe: where to read, and the stream to write to."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="ascii") as stream:
        yield reader, stream
    os.close(reader)


class Log:
    """A logger of its own, on a pipe."""

    def __init__(self, pipe: tuple[int, TextIO]) -> None:
        self.reader, stream = pipe
        self.handler = LogHandler(Writer(stream))
        self.handler.setFormatter(logging.Formatter("> %(message)s"))
        self.logger = logging.Logger("stranger")
        self.logger.addHandler(self.handler)

    def lines(self, count: int) -> list[str]:
        """Return the next lines, whenever they come."""
        with os.fdopen(os.dup(self.reader)) as lines:
            return [lines.readline() for _ in range(count)]

    def text(self) -> str:
        """Return what has been written."""
        self.handler.flush()
        return os.read(self.reader, 1_000_000).decode()


@pytest.fixture
def log(pipe: tuple[int, TextIO]) -> Log:
    return Log(pipe)


def test_no_reader_stops_nobody_and_what_is_dropped_is_counted(log: Log) -> None:
    before = dropped("full")
    for number in range(3 * LONGEST_QUEUE):
        log.logger.info("%d %s", number, "x" * 200)
    lost = dropped("full") - before
    written = [int(line.split()[1]) for line in log.lines(3 * LONGEST_QUEUE - int(lost))]
    # The queue holds a thousand entries, and the pipe 65,536 bytes of them.
    assert LONGEST_QUEUE < lost < 2 * LONGEST_QUEUE
    assert written[:LONGEST_QUEUE] == list(range(LONGEST_QUEUE))
    assert written == sorted(set(written))


def test_a_reader_that_left_is_counted(pipe: tuple[int, TextIO]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        log, before = Log((reader, stream)), dropped("unwritable")
        log.logger.info("hello")
        log.handler.flush()
    assert dropped("unwritable") == before + 1


def test_a_pipe_that_another_process_made_non_blocking_loses_nothing(log: Log) -> None:
    os.set_blocking(log.handler.writer._file, False)
    for _ in range(50):
        log.logger.info("x" * 5000)
    assert log.lines(50) == [f"> {'x' * 5000}\n"] * 50


def test_one_warning_of_a_place_passes_each_second(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, before = [100.0], dropped("repeated")
    monkeypatch.setattr("serving.logs.time.monotonic", lambda: now[0])
    for second in (100.0, 100.9, 101.0, 101.5, 103.0):
        now[0] = second
        for error in (None, ValueError(second), KeyError(second)):
            log.logger.warning("at %s", second, exc_info=error)
    lines = [line for line in log.text().splitlines() if line.startswith(">")]
    assert lines == [
        *["> at 100.0"] * 3,
        *["> at 101.0 (and 1 more since the last such line)"] * 3,
        *["> at 103.0 (and 1 more since the last such line)"] * 3,
    ]
    assert dropped("repeated") == before + 6


def test_information_is_not_thinned_out(log: Log) -> None:
    for number in range(20):
        log.logger.info("%d", number)
    assert len(log.text().splitlines()) == 20


def test_a_strangers_text_forges_no_line_and_no_escape_sequence(log: Log) -> None:
    forged = f"{COLOUR}\r\n2026-01-01 00:00:00 INFO serving: all is well\t\ud800"
    log.logger.error("%s", forged, exc_info=ValueError(forged))
    text = log.text()
    assert text.isascii()
    assert all(char.isprintable() or char == "\n" for char in text)
    assert [line for line in text.splitlines() if not line.startswith("    ")] == [
        r"> \x1b[31mred\u202e\x9b2J\r"
    ]


def test_an_entry_has_a_bounded_length_and_keeps_its_ends(log: Log) -> None:
    log.logger.info("begin %s end", "x" * 10**6)
    text = log.text()
    assert len(text) < LONGEST_ENTRY + 100
    assert text.startswith("> begin")
    assert text.endswith(" end\n")
    assert "992012 characters left out" in text


def test_an_entry_that_cannot_be_formatted_is_named(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "logger", log.logger)
    log.logger.warning("%d", "one")
    text = log.text()
    assert "test_logs.py" in text
    assert "cannot be logged" in text


@pytest.fixture
def started(log: Log, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """The log as `start` sets it up, taken back at the end."""
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(sys, "warnoptions", [])
    with warnings.catch_warnings():
        logs.start("INFO")
        root.handlers[:] = [log.handler]
        yield log


def test_faults_of_threads_and_finalizers_are_logged(started: Log) -> None:
    class Broken:
        def __del__(self) -> None:
            raise ValueError("at the end")

    thread = threading.Thread(target=lambda: 1 // 0, name="worker")
    thread.start()
    thread.join()
    Broken()
    text = started.text()
    assert "thread worker failed" in text
    assert "ZeroDivisionError" in text
    assert "Broken.__del__" in text
    assert "ValueError: at the end" in text


def test_warnings_take_no_memory(started: Log) -> None:
    registry = sys.modules[__name__].__dict__.setdefault("__warningregistry__", {})
    registry.clear()
    for number in range(1000):
        warnings.warn(f"chunk {number} is odd", stacklevel=1)
    assert len(registry) <= 1  # it holds a version


def test_a_banner_that_nobody_reads_stops_nobody(
    pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, stream = pipe
    os.set_blocking(stream.fileno(), False)
    with suppress(BlockingIOError):
        while True:
            os.write(stream.fileno(), b"x" * 65_536)
    os.set_blocking(stream.fileno(), True)
    monkeypatch.setattr(sys, "stdout", stream)
    announce("ready")
    with os.fdopen(os.dup(reader)) as lines:
        assert lines.readline().endswith("xready\n")


def test_a_banner_without_a_reader_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    log, said = logging.Logger("banner"), threading.Event()
    monkeypatch.setattr(logs, "logger", log)
    log.addHandler(handler := logging.Handler())
    monkeypatch.setattr(handler, "emit", lambda _: said.set())
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        announce("ready")
        assert said.wait(30)
