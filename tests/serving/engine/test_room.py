"""What may be in flight: all of a request or nothing, and back once."""

from serving.engine.room import Limits, Room
from serving.engine.sources import Size

SIZE = Size("raw", pixels=10, nbytes=100)


def test_each_image_gets_a_slot_of_its_own_until_none_is_left() -> None:
    room = Room(Limits(3, 1000, 1000), 4, 5)
    leases = [*(room.take([SIZE] * 2) or []), *(room.take([SIZE]) or [])]
    assert {lease.number for lease in leases} == {0, 1, 2}
    assert room.taken == Limits(3, 300, 30)
    assert room.lacking(Limits(1, 0, 0)) == "images"
    for lease in leases:
        lease.slot[:] = lease.number + 1
    assert [lease.slot.min() for lease in leases] == [lease.number + 1 for lease in leases]
    assert leases[0].slot.shape == (4, 5, 3)


def test_a_request_that_does_not_fit_takes_nothing() -> None:
    room = Room(Limits(3, 1000, 25), 4, 5)
    assert room.take([SIZE] * 4) is None
    assert room.take([SIZE] * 3) is None  # its pixels
    assert room.lacking(Limits(3, 300, 30)) == "pixels"
    assert room.lacking(Limits(2, 1001, 20)) == "nbytes"
    assert room.taken == Limits(0, 0, 0)


def test_a_lease_is_given_back_once_and_its_slot_is_handed_out_again() -> None:
    room = Room(Limits(1, 1000, 1000), 4, 5)
    for _ in range(2):
        [lease] = room.take([SIZE]) or []
        assert room.taken == Limits(1, 100, 10)
        lease.close()
        lease.close()
        assert room.taken == Limits(0, 0, 0)
