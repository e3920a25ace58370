"""The CPU time of processes, not in ticks."""

import sys
import time
from collections.abc import Iterable

SCHEDULED = 2  # CPUCLOCK_SCHED of Linux: the clock of a whole process, in nanoseconds


def cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU time that processes have taken, in seconds; those that have ended add nothing.

    What psutil reads on Linux is rounded to ticks of 10 ms: short work may seem to cost nothing.
    """
    return sum(map(_cpu_s, pids))


if sys.platform == "linux":

    def _cpu_s(pid: int) -> float:
        try:
            return time.clock_gettime(~pid << 3 | SCHEDULED)  # as clock_getcpuclockid(3) makes it
        except OSError:
            return 0.0

else:

    def _cpu_s(pid: int) -> float:
        import psutil  # the environment of Ray, which is tried on Linux, has none

        try:
            return float(sum(psutil.Process(pid).cpu_times()[:2]))
        except psutil.NoSuchProcess:
            return 0.0
