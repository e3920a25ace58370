"""When a load runs, and what it knows of its pauses."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.child import Child
from serving.hotload.pace import BURST_S, SHARE, Pace, Pauses
from tests.support.paths import ROOT

SLEEPS = ("timeit", "-n1", "-r1", "import time; time.sleep(600)")
# Starts a child, pauses it, says its number, and waits.
PARENT = f"""
import signal, sys
from serving.child import Child
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored
child = Child(*{SLEEPS!r})
child.pause()
print(child.process.pid, flush=True)
sys.stdin.read()
"""


class Paced:
    """A process that only notes when it is paused and resumed, and when each came."""

    def __init__(self) -> None:
        self.pauses = Pauses()
        self.is_idle = self.stops = True
        self.events: list[str] = []
        self.changed = threading.Condition()
        self.pace = Pace(self, self.pauses, lambda: self.is_idle)  # type: ignore[arg-type]

    def pause(self) -> None:
        self._note("pause")

    def resume(self) -> None:
        self._note("resume")

    def has_stopped(self) -> bool:
        return self.stops

    def _note(self, what: str) -> None:
        with self.changed:
            self.events.append(what)
            self.changed.notify_all()

    def wait_for(self, *events: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.events == [*events], 30), self.events


@pytest.fixture
def paced() -> Iterator[Paced]:
    paced = Paced()
    yield paced
    paced.pace.end()
    paced.pauses.close()


def test_it_is_paused_while_images_are_in_flight_and_runs_at_the_end(paced: Paced) -> None:
    paced.is_idle = False
    paced.wait_for("pause")
    paced.is_idle = True
    paced.wait_for("pause", "resume")
    paced.is_idle = False
    paced.wait_for("pause", "resume", "pause")
    paced.pace.end()
    assert paced.events == ["pause", "resume", "pause", "resume"]


def test_models_that_are_never_idle_leave_it_a_share(paced: Paced) -> None:
    started = time.monotonic()
    paced.is_idle = False
    paced.wait_for("pause", "resume", "pause")
    assert time.monotonic() - started >= BURST_S / SHARE


def test_its_clock_stands_still_while_it_is_paused(paced: Paced) -> None:
    """Both sides have the memory: it reads what the other wrote."""
    own = Pauses(os.dup(paced.pauses.descriptor))
    before = time.monotonic() - own.clock()
    paced.is_idle = False
    paced.wait_for("pause", "resume")
    paused = time.monotonic() - own.clock() - before
    own.close()
    assert before == pytest.approx(0, abs=1e-3)
    assert paused >= BURST_S / SHARE * 0.9


def test_what_it_waits_for_a_core_before_it_stops_is_no_pause(paced: Paced) -> None:
    """The kernel counts that: taken off twice, a batch would take less than nothing."""
    paced.stops = False
    paced.is_idle = False
    paced.wait_for("pause", "resume")
    assert time.monotonic() - paced.pauses.clock() == pytest.approx(0, abs=1e-3)


def test_a_process_stops_and_goes_on() -> None:
    child = Child(*SLEEPS)
    try:
        assert not child.has_stopped()
        child.pause()
        until(child.has_stopped)
        assert child.has_stopped()
        assert state(child.process.pid) == "T"
        child.resume()
        assert not child.has_stopped()
        until(lambda: state(child.process.pid) in "RS")
        child.pause()
    finally:
        child.close()
    assert child.process.returncode == -signal.SIGKILL


def test_a_paused_process_ends_with_its_killed_parent() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        until(lambda: state(child) == "T")
        parent.kill()
    until(lambda: state(child) in ("", "Z"))


def state(process: int) -> str:
    """Return the state of a process as proc(5) has it, empty if it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def until(found: Callable[[], object]) -> None:
    """Wait until something in another process is so, for at most a minute."""
    end = time.monotonic() + 60
    while not found():
        assert time.monotonic() < end
        time.sleep(0.001)
