import threading
from collections.abc import Callable

import pytest

from serving.backends.ort.gpu_lock import gpu_lock
from tests.support.waiting import WatchedLock

LIMIT_S = 10


@pytest.fixture
def lock() -> WatchedLock:
    return WatchedLock()


def started(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_batches_run_at_the_same_time(lock: WatchedLock) -> None:
    both = threading.Barrier(2, timeout=LIMIT_S)

    def use() -> None:
        with lock.using():
            both.wait()

    other = started(use)
    use()
    other.join(LIMIT_S)


def test_a_recording_waits_for_batches_and_lets_no_other_in_before_it(lock: WatchedLock) -> None:
    """Else batches of other instances, one after another, would keep it waiting for ever."""
    order: list[str] = []

    def record() -> None:
        with lock.recording():
            order.append("recording")

    def use() -> None:
        with lock.using():
            order.append("second batch")

    with lock.using():
        recorder = started(record)
        assert lock.left.waited.wait(LIMIT_S)
        second = started(use)
        assert lock.door.waited.wait(LIMIT_S)
        order.append("first batch")
    recorder.join(LIMIT_S)
    second.join(LIMIT_S)
    assert order == ["first batch", "recording", "second batch"]


def test_nobody_comes_in_during_a_recording(lock: WatchedLock) -> None:
    order: list[str] = []

    def use() -> None:
        with lock.using():
            order.append("batch")

    with lock.recording():
        user = started(use)
        assert lock.door.waited.wait(LIMIT_S)
        order.append("recorded")
    user.join(LIMIT_S)
    assert order == ["recorded", "batch"]


def test_what_fails_has_left(lock: WatchedLock) -> None:
    with pytest.raises(ValueError, match="batch"), lock.using():
        raise ValueError("batch")
    with pytest.raises(ValueError, match="recording"), lock.recording():
        raise ValueError("recording")
    with lock.using():
        pass


def test_instances_and_models_on_a_gpu_share_its_lock() -> None:
    assert gpu_lock(3) is gpu_lock(3)
    assert gpu_lock(3) is not gpu_lock(4)
