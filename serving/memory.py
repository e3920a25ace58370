"""Memory that the process has freed and not given back."""

import ctypes
import gc


def release_freed_memory() -> None:
    """Return freed memory to the system: after a load or a burst it is more than what is in use.

    glibc keeps it for later allocations, but a server that has loaded, or whose callers have gone,
    makes few. Other C libraries do not keep it, or have no function for this. Any thread may call.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim:
        malloc_trim(0)


def tidy() -> None:
    """Collect what is garbage, keep the collector from all else, and release freed memory.

    Call it when models have come or gone: what is loaded stays, so the collector need not visit it
    each time, but what has gone may be among what it did not visit.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    release_freed_memory()
