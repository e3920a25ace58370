"""The CPU time of processes that work, rest and end."""

import os
import subprocess
import sys

import pytest

from benchmarks.cpu_time import cpu_s

WORKS = "sum(range(10**5)); print(flush=True); input()"


def test_even_short_work_takes_time() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as worker:
        assert worker.stdin
        assert worker.stdout
        worker.stdout.readline()  # it works no more
        taken = cpu_s([worker.pid])
        assert 0 < taken < 60
        assert cpu_s([worker.pid, os.getpid()]) > taken
        worker.communicate(b"\n")
    assert cpu_s([worker.pid]) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the clock that is read is of Linux")
def test_it_is_no_number_of_ticks() -> None:
    own = [os.getpid()]
    before, after = cpu_s(own), cpu_s(own)
    assert after > before
