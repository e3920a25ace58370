"""May the process start as many threads as it needs?"""

from collections.abc import Iterator
from pathlib import Path

from cli.cgroups import cgroups, words
from serving.doctor.finding import Case, Finding

# Of gRPC, the event loop and the log, beside those of the models.
OTHERS = 32
RAISE = "raise it: TasksMax= of systemd, --pids-limit of Docker, podPidsLimit of Kubernetes' nodes"


def check(case: Case) -> Iterator[Finding]:
    """Compare what the models were seen to start with the limits of the cgroups."""
    needed = OTHERS + sum(load.threads for load in case.loaded)
    limits = [*free(case.root)]
    if not limits:
        yield Finding("ok", f"about {needed} threads are needed, and no cgroup limits them")
        return
    least, folder = min(limits)
    told = f"about {needed} threads are needed, and {folder} allows {least} more"
    yield Finding("fail", told, RAISE) if needed > least else Finding("ok", told)


def free(root: Path) -> Iterator[tuple[int, Path]]:
    """Yield how many more threads each cgroup of the process allows."""
    for folder in cgroups(root, "pids"):
        limit, used = words(folder / "pids.max"), words(folder / "pids.current")
        if limit and used and limit[0].isdecimal():
            yield int(limit[0]) - int(used[0]), folder
