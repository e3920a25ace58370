"""Work in threads: its results, its errors, and that no thread keeps the process alive."""

import os
import subprocess
import sys
import threading

import pytest

from serving.threads import at_once, in_thread, is_in_background
from tests.support.paths import ROOT


def test_results_come_in_order_and_the_works_run_at_once() -> None:
    together = threading.Barrier(3, timeout=60)

    def work(number: int) -> int:
        together.wait()
        return number

    assert at_once([lambda n=n: work(n) for n in range(3)], "proof") == [0, 1, 2]  # type: ignore[misc]


def test_an_error_is_raised_when_all_have_ended() -> None:
    failed, ended = threading.Event(), threading.Event()

    def fail() -> None:
        failed.set()
        raise ValueError("the first")

    def go_on() -> None:
        failed.wait()
        ended.set()

    with pytest.raises(ValueError, match="the first"):
        at_once([fail, go_on], "proof")
    assert ended.is_set()


def test_what_runs_ends_before_it_is_told_that_there_are_no_more_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin, may_end, ended = threading.Thread.start, threading.Event(), threading.Event()

    def work() -> None:
        may_end.wait(60)
        ended.set()

    def start(thread: threading.Thread) -> None:
        if thread.name == "proof" and any(one.name == "proof" for one in threading.enumerate()):
            threading.Timer(0, may_end.set).start()
            raise RuntimeError("can't start new thread")
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="new thread"):
        at_once([work, work], "proof")
    assert ended.is_set()


def test_a_thread_has_a_name_and_keeps_no_process_alive() -> None:
    assert in_thread(lambda: threading.current_thread().name, "load").result() == "load"
    program = "import threading, serving.threads as t; t.in_thread(threading.Event().wait, 'x')"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


@pytest.mark.skipif(sys.platform != "linux", reason="others have no such policy")
def test_a_thread_that_gets_only_what_is_left_is_in_the_background() -> None:
    def work() -> bool:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # of this thread
        return is_in_background()

    assert in_thread(work, "load").result()
    assert not is_in_background()
