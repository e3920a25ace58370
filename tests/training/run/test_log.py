"""The log on a terminal: the upstream's lines, whole."""

import io
import logging
import re

import pytest
from rich.console import Console

from training.run import log

LINE = "after allreduce eval: top1_correct=8, tot=10,acc=80.00%(TOP1) [[1] [2]] :smile: " + "x" * 90


def test_a_line_is_neither_wrapped_nor_coloured_nor_read_as_markup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(log, "CONSOLE", Console(file=written, force_terminal=True, width=40))
    handler = log.LinesAboveTheBar()
    handler.setFormatter(logging.Formatter(log.FORMAT))
    handler.emit(logging.makeLogRecord({"levelname": "INFO", "msg": LINE}))
    assert re.fullmatch(r"[\d: ,-]+:INFO:" + re.escape(LINE) + "\n", written.getvalue())
