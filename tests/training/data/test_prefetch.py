"""Prefetching keeps order and errors, and its thread ends with it."""

import threading
from collections.abc import Iterator

import pytest

from training.data.prefetch import Prefetcher


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "prefetch"]


def test_items_come_in_order_and_the_thread_ends() -> None:
    assert list(Prefetcher(range(100))) == list(range(100))
    assert threads() == []


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("disk gone")

    prefetched = iter(Prefetcher(items()))
    assert next(prefetched) == 1
    with pytest.raises(OSError, match="disk gone"):
        next(prefetched)


def test_leaving_early_ends_the_thread() -> None:
    endless = iter(Prefetcher(iter(int, 1)))
    assert next(endless) == 0
    endless.close()
    assert threads() == []


def test_leaving_early_closes_what_is_read() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from iter(int, 1)
        finally:
            closed.set()

    source = items()
    prefetched = iter(Prefetcher(source))
    assert next(prefetched) == 0
    prefetched.close()
    assert closed.is_set()
    assert list(source) == []


def test_waiting_for_a_slow_item_is_measured() -> None:
    release = threading.Event()

    def items() -> Iterator[int]:
        release.wait()
        yield 1

    prefetcher = Prefetcher(items())
    threading.Timer(0.05, release.set).start()
    assert list(prefetcher) == [1]
    assert prefetcher.wait_s >= 0.04
