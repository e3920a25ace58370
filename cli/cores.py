"""The CPU, and how many cores this process may use: its affinity, and its cgroups' CPU quotas.

A container's CPU limit is a quota: the kernel still shows every core of the machine, and stops all
threads for the rest of each period (0.1 s as a rule) once they have used the quota up together.
"""

import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple


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
    for folder in _cgroups(root):
        # Version 2 has "QUOTA PERIOD" or "max PERIOD" in one file, version 1 has two; -1: no quota.
        words = _words(folder / "cpu.max") or (
            *_words(folder / "cpu.cfs_quota_us"),
            *_words(folder / "cpu.cfs_period_us"),
        )
        if len(words) == 2 and words[0].isdecimal() and int(words[0]) and int(words[1]):
            yield int(words[0]) / int(words[1])


def _cgroups(root: Path) -> Iterator[Path]:
    """Yield the folders of the process's cgroups that rule CPUs, up to the topmost.

    Inside a container the topmost may be its own cgroup, and the path that the kernel states one
    of the host's, which does not exist here.
    """
    mounts = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            below = PurePosixPath(path.lstrip("/"))
            for part in (below, *below.parents):
                yield mounts / controllers / part


def _words(path: Path) -> tuple[str, ...]:
    return tuple(word for line in _lines(path) for word in line.split())


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:  # another version of cgroups, or none
        return []
