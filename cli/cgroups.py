"""The cgroups of this process, version 1 or 2, and what their files say.

Source: the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def cgroups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the process's cgroups that rule a resource, up to the topmost.

    Inside a container the topmost may be its own cgroup, and the path that the kernel states one
    of the host's, which does not exist here.

    Args:
        root: where /proc and /sys are.
        controller: `cpu`, `memory`, `pids`, ...
    """
    mounts = root / "sys/fs/cgroup"
    for line in lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            below = PurePosixPath(path.lstrip("/"))
            for part in (below, *below.parents):
                yield mounts / controllers / part


def words(path: Path) -> tuple[str, ...]:
    """Return the words of a file; none if there is no such file."""
    return tuple(word for line in lines(path) for word in line.split())


def lines(path: Path) -> list[str]:
    """Return the lines of a file; none if there is no such file."""
    try:
        return path.read_text().splitlines()
    except OSError:  # another version of cgroups, or none
        return []
