"""Threads that compute, and give way to the one that answers."""

import os
import sys
import threading
from collections.abc import Callable

# Under overload gRPC's thread must come to its turn at once: what waits in front of it is
# neither refused nor predicted. A weight of two fifths is enough; more starves the devices.
NICENESS = 4


def compute_thread(name: str, run: Callable[[], None]) -> threading.Thread:
    """Return a daemon thread, not started, of a lower priority than the others."""

    def give_way_and_run() -> None:
        if sys.platform == "linux":  # where a thread has a priority of its own
            own = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), own + NICENESS)
        run()

    return threading.Thread(target=give_way_and_run, name=name, daemon=True)
