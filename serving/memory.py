"""Memory that the process has freed and not given back."""

import ctypes


def release_freed_memory() -> None:
    """Return freed memory to the system: after a load or a burst it is more than what is in use.

    glibc keeps it for later allocations, but a server that has loaded, or whose callers have gone,
    makes few. Other C libraries do not keep it, or have no function for this. Any thread may call.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim:
        malloc_trim(0)
