import logging
import re
import threading

import pytest

from serving.backends.ort.progress import told


class Signal(logging.Handler):
    """Sets an event at the first line that goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "not done" in record.getMessage():
            self.told.set()


def test_what_takes_long_is_told_until_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    handler = Signal()
    logging.getLogger("serving.backends.ort.progress").addHandler(handler)
    with told("engine", every_s=0.001):
        assert handler.told.wait(10)
    logging.getLogger("serving.backends.ort.progress").removeHandler(handler)
    assert re.fullmatch(r"engine: not done after \d+ s", caplog.messages[0])
    assert re.fullmatch(r"engine: done in \d+\.\d s", caplog.messages[-1])
    assert "progress" not in {thread.name for thread in threading.enumerate()}


def test_what_fails_is_not_said_to_be_done(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(RuntimeError), told("engine"):
        raise RuntimeError
    assert caplog.messages == []
