"""Has /dev/shm room for the batches of MindSpore Lite's workers? Nothing else uses it."""

import os
from collections.abc import Iterator

from serving.doctor.finding import Case, Finding

ENLARGE = "enlarge it (Docker: --shm-size; Kubernetes: an emptyDir of medium Memory there)"


def check(case: Case) -> Iterator[Finding]:
    """Compare what the models were seen to map of it with what is free."""
    needed = sum(load.shared_bytes for load in case.loaded)
    folder = case.root / "dev/shm"
    if not needed:
        yield Finding("ok", "no model that could be loaded needs it")
        return
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    told = f"the models take {needed:,} bytes of {folder}, where {free:,} are free"
    if needed > free:
        yield Finding("fail", told, ENLARGE)
    else:
        yield Finding("ok", told)
