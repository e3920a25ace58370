"""Memory: what is free on this machine, and what the process has freed and not given back."""

import ctypes
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cli.cgroups import cgroups, lines, words

# Version 1 of cgroups states no limit as the largest multiple of a page that fits 63 bits.
UNLIMITED = 2**60


class Room(NamedTuple):
    """Memory that is free under a limit, in bytes, and whose limit that is."""

    of: str
    free: int


def release_freed_memory() -> None:
    """Return freed memory to the system: after a load or a burst it is more than what is in use.

    glibc keeps it for later allocations, but a server that has loaded, or whose callers have gone,
    makes few. Other C libraries do not keep it, or have no function for this. Any thread may call.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim:
        malloc_trim(0)


def tidy(*, whole: bool) -> None:
    """Collect what is garbage, and release freed memory.

    Args:
        whole: look at all there is, and keep the collector from what stays. With the 100,000
            objects of a server that holds Python's lock for 60 ms. Else look only at what has come
            since, which takes 1 ms.
    """
    if whole:
        gc.unfreeze()
    gc.collect()
    if whole:
        gc.freeze()
    release_freed_memory()


def free(root: Path) -> Iterator[Room]:
    """Yield what is free in the machine, and under each limit of the process's cgroups."""
    for line in lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            yield Room("the machine", int(line.split()[1]) * 1024)
    for folder in cgroups(root, "memory"):
        # Version 2, version 1. What files are cached may be dropped at any time.
        for limit, used, cached in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            stated = words(folder / limit)
            if stated and stated[0].isdecimal() and int(stated[0]) < UNLIMITED:
                taken = int(words(folder / used)[0]) - _cached(folder / "memory.stat", cached)
                yield Room(f"the cgroup {folder}", int(stated[0]) - taken)


def _cached(statistics: Path, name: str) -> int:
    stated = dict(line.split() for line in lines(statistics))
    return int(stated.get(name, 0))
