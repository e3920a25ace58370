import os
import queue
import sys

import pytest

from serving.engine.queue import NICENESS, compute_thread


@pytest.mark.skipif(sys.platform != "linux", reason="threads share a priority elsewhere")
def test_a_thread_that_computes_gives_way_and_no_other() -> None:
    seen: queue.Queue[int] = queue.Queue()
    before = os.getpriority(os.PRIO_PROCESS, 0)
    thread = compute_thread("test", lambda: seen.put(os.getpriority(os.PRIO_PROCESS, 0)))
    thread.start()
    thread.join()
    assert seen.get_nowait() == min(before + NICENESS, 19)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
