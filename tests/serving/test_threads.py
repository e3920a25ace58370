"""Work in threads: its results, its errors, and that no thread keeps the process alive."""

import os
import subprocess
import sys
import threading

import pytest

from serving.threads import at_once, in_background, in_foreground, in_thread, is_in_background
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


def test_a_thread_has_a_name_and_keeps_no_process_alive() -> None:
    assert in_thread(lambda: threading.current_thread().name, "load").result() == "load"
    program = "import threading, serving.threads as t; t.in_thread(threading.Event().wait, 'x')"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


def priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_the_background_and_what_it_starts_give_way_and_the_foreground_does_not() -> None:
    def work() -> tuple[bool, int, int, int, list[int]]:
        return (
            is_in_background(),
            priority(),
            in_foreground(priority),
            in_foreground(lambda: in_thread(priority, "stays").result()),
            at_once([priority], "proof"),
        )

    usual = priority()
    assert in_background(work, "load").result() == (True, 19, usual, usual, [19])
    assert (is_in_background(), in_foreground(priority), priority()) == (False, usual, usual)


def test_errors_of_the_foreground_reach_the_background() -> None:
    def fail() -> None:
        raise ValueError("in front")

    with pytest.raises(ValueError, match="in front"):
        in_background(lambda: in_foreground(fail), "load").result()
