"""The CPU, and how many cores this process may use: its affinity, and its cgroups' CPU quotas.

A container's CPU limit is a quota: the kernel still shows every core of the machine, and stops all
threads for the rest of each period (0.1 s as a rule) once they have used the quota up together.
"""

import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cli.cgroups import cgroups, words


class Cores(NamedTuple):
    """Cores to use, at least 1: those `allowed` by the affinity, or fewer by `quota`, in cores."""

    allowed: int
    quota: float | None

    @property
    def usable(self) -> int:
        """How many threads can compute at once; a part of a core counts as one."""
        if self.quota is None:
            return self.allowed
        return max(1, min(self.allowed, math.ceil(self.quota)))

    def __str__(self) -> str:
        if self.quota is None or self.quota >= self.allowed:
            return f"{self.allowed} cores"
        return f"a CPU quota of {self.quota:.3g} on {self.allowed} cores"


def usable_cores(root: Path = Path("/")) -> Cores:
    """Return the cores of this process; `root` is where /proc and /sys are."""
    return Cores(len(os.sched_getaffinity(0)), min(_quotas(root), default=None))


def cpu_model() -> str:
    """Return what the kernel calls the CPU; on ARM its implementer and part."""
    names = ("model name", "CPU implementer", "CPU part")
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    fields = {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
    return " ".join(fields[name] for name in names if name in fields) or platform.machine()


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPU quotas of the process's cgroups and of all above them, in cores."""
    for folder in cgroups(root, "cpu"):
        # Version 2 has "QUOTA PERIOD" or "max PERIOD" in one file, version 1 has two; -1: no quota.
        stated = words(folder / "cpu.max") or (
            *words(folder / "cpu.cfs_quota_us"),
            *words(folder / "cpu.cfs_period_us"),
        )
        if len(stated) == 2 and stated[0].isdecimal() and int(stated[0]) and int(stated[1]):
            yield int(stated[0]) / int(stated[1])
