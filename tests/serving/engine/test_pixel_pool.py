import numpy as np
import pytest

from serving.engine.pixel_pool import PixelPool


def test_hands_out_each_slot_once_until_none_is_left() -> None:
    pool = PixelPool(3, 4, 5)
    first, second = pool.acquire(2), pool.acquire(1)
    assert {*first, *second} == {0, 1, 2}
    assert pool.taken == len(pool) == 3
    with pytest.raises(IndexError, match="1 slots are needed, 0 are free"):
        pool.acquire(1)


def test_a_request_that_does_not_fit_takes_nothing() -> None:
    pool = PixelPool(3, 4, 5)
    with pytest.raises(IndexError):
        pool.acquire(4)
    assert pool.taken == 0


def test_released_slots_are_handed_out_again() -> None:
    pool = PixelPool(1, 4, 5)
    assert pool.acquire(1) == [0]
    pool.release(0)
    assert pool.taken == 0
    assert pool.acquire(1) == [0]


def test_gathers_slots_into_the_first_rows_of_a_buffer() -> None:
    pool = PixelPool(4, 2, 2)
    for slot in range(4):
        pool[slot][:] = slot + 1
    buffer = np.zeros((4, 2, 2, 3), np.uint8)
    pool.gather([2, 0], buffer)
    assert [row.max() for row in buffer] == [row.min() for row in buffer] == [3, 1, 0, 0]
