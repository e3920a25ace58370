"""What may be in flight: all of a request or nothing, and back once."""

from serving.engine.room import Limits, Room
from serving.engine.sources import Size

SIZE = Size("raw", pixels=10, nbytes=100)


def lacking(room: Room, request: Limits) -> str | None:
    lack = room.lacking(request)
    return lack and lack.name


def test_each_image_gets_a_slot_of_its_own_until_none_is_left() -> None:
    room = Room(Limits(3, 1000, 1000), 4, 5)
    leases = [*(room.take([SIZE] * 2, [False] * 2) or []), *(room.take([SIZE], [False]) or [])]
    assert {lease.number for lease in leases} == {0, 1, 2}
    assert room.taken == Limits(3, 300, 30)
    assert lacking(room, Limits(1, 0, 0)) == "images"
    for lease in leases:
        lease.slot[:] = lease.number + 1
    assert [lease.slot.min() for lease in leases] == [lease.number + 1 for lease in leases]
    assert leases[0].slot.shape == (4, 5, 3)


def test_a_request_that_does_not_fit_takes_nothing() -> None:
    room = Room(Limits(3, 1000, 25), 4, 5)
    assert room.take([SIZE] * 4, [False] * 4) is None
    assert room.take([SIZE] * 3, [False] * 3) is None  # its pixels
    assert lacking(room, Limits(3, 300, 30)) == "pixels"
    assert lacking(room, Limits(2, 1001, 20)) == "nbytes"
    assert room.taken == Limits(0, 0, 0)


def test_a_lease_is_given_back_once_and_its_slot_is_handed_out_again() -> None:
    room = Room(Limits(1, 1000, 1000), 4, 5)
    for _ in range(2):
        [lease] = room.take([SIZE], [False]) or []
        assert room.taken == Limits(1, 100, 10)
        lease.close()
        lease.close()
        assert room.taken == Limits(0, 0, 0)


def test_what_follows_a_lease_is_done_once_when_its_room_is_free() -> None:
    room = Room(Limits(1, 1000, 1000), 4, 5)
    [lease] = room.take([SIZE], [False]) or []
    seen: list[Limits] = []
    lease.on_close = lambda: seen.append(room.taken)
    lease.close()
    lease.close()
    assert seen == [Limits(0, 0, 0)]


def test_slow_images_leave_room_for_the_others() -> None:
    room = Room(Limits(8, 10_000, 100), 4, 5)
    assert room.take([SIZE] * 8, [True] * 8) is None
    slow = room.take([SIZE] * 6, [True] * 5 + [False]) or []
    slow += room.take([SIZE], [True]) or []
    assert len(slow) == 7
    lack = room.lacking(Limits(1, 100, 10), Limits(1, 100, 10))
    assert lack == ("images", "slow", 6, 1, 6)
    [other] = room.take([SIZE], [False]) or []
    for lease in (*slow, other):
        lease.close()
    assert len(room.take([SIZE] * 6, [True] * 6) or []) == 6


def test_one_slow_image_of_any_size_may_enter() -> None:
    room, large = Room(Limits(8, 1000, 10), 4, 5), Size("PNG", 10, 100)
    [lease] = room.take([large], [True]) or []
    assert room.take([SIZE._replace(pixels=0)], [True]) is None
    lease.close()
    assert room.take([large], [True]) is not None


def test_no_caller_takes_more_than_its_share() -> None:
    room = Room(Limits(4, 1000, 1000), 4, 5, share=0.5)
    greedy = room.take([SIZE] * 2, [False] * 2, "greedy") or []
    assert len(greedy) == 2
    assert room.take([SIZE], [False], "greedy") is None
    assert room.lacking(Limits(1, 0, 0), caller="greedy") == ("images", "caller", 2, 1, 2)
    others = [*(room.take([SIZE] * 2, [False] * 2, "other") or [])]
    assert len(others) == 2
    assert room.lacking(Limits(1, 0, 0), caller="third") == ("images", "all", 4, 1, 4)
    greedy.pop().close()
    assert room.take([SIZE] * 2, [False] * 2, "greedy") is None
    greedy += room.take([SIZE], [False], "greedy") or []
    for lease in (*greedy, *others):
        lease.close()
        lease.close()
    assert room.taken == Limits(0, 0, 0)
    assert len(room.take([SIZE] * 2, [True, False], "greedy") or []) == 2


def test_a_share_is_one_of_each_limit() -> None:
    room = Room(Limits(8, 1000, 100), 4, 5, share=0.5)
    for request, name in {Limits(1, 501, 1): "nbytes", Limits(1, 1, 51): "pixels"}.items():
        assert (room.lacking(request, caller="one") or ())[:2] == (name, "caller")


def test_callers_who_have_nothing_in_flight_take_no_memory() -> None:
    room = Room(Limits(8, 10_000, 1000), 4, 5, share=0.5)
    for caller in map(str, range(100)):
        for lease in room.take([SIZE] * 2, [True, False], caller) or []:
            lease.slow_down()
            lease.close()
    assert not room._held
