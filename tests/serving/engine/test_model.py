import asyncio
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

from images.limits import ImageLimits
from images.transform import Pixels, Transform
from serving.engine.answers import EARLY_S
from serving.engine.job import Prediction
from serving.engine.sources import Encoded, Raw, Size
from serving.errors import (
    DeadlineExceededError,
    InternalError,
    InvalidImageError,
    OverloadedError,
    UnavailableError,
)
from tests.support.bundles import SIDE
from tests.support.serving import Gate, Rig, VirtualClock, classes, grey, until

pytestmark = pytest.mark.usefixtures("decoding")


async def test_every_image_gets_its_own_answer_in_order(tiny: Path) -> None:
    async with Rig(tiny, gate=Gate(is_open=True)).running() as rig:
        answers = await rig.classify(3, 1, 5, 2)
    assert classes(answers) == [3, 1, 5, 2]
    assert rig.images("ok") == 4


async def test_a_request_that_waits_does_not_hold_what_it_was_read_from(tiny: Path) -> None:
    class Message(list[Raw]):
        """What a weak reference can refer to."""

    async with Rig(tiny).running() as rig:
        busy = await rig.busy()
        message = Message([grey(1)])
        reference = weakref.ref(message)
        waiting = asyncio.ensure_future(rig.model.classify(message, rig.model.clock() + 30))
        del message
        await rig.queued(1)
        assert reference() is None
        rig.gate.open()
        assert classes([*await busy, *await waiting]) == [0, 1]


async def test_stages_add_up_to_the_total(tiny: Path) -> None:
    async with Rig(tiny, gate=Gate(is_open=True)).running() as rig:
        [answer] = await rig.classify(1)
    assert isinstance(answer, Prediction)
    *stages, total, images, decode_after_s = answer.timing
    assert min(stages) >= 0
    assert total == pytest.approx(sum(stages))
    assert images == 1
    assert 0 <= decode_after_s <= total - answer.timing.decode_s - answer.timing.infer_s


async def test_batches_form_while_the_device_is_busy(tiny: Path) -> None:
    async with Rig(tiny).running() as rig:
        first = await rig.busy()
        others = [rig.classify(value) for value in (1, 2, 3)]
        await rig.queued(3)
        rig.gate.open()
        assert [classes(await task) for task in (first, *others)] == [[0], [1], [2], [3]]
    assert rig.backends[0].batches == [(1, 1), (3, 4)]
    assert rig.sample("padded_slots_total") == 1
    assert rig.sample("batch_images_sum") == 4
    assert rig.sample("batch_images_count") == 2


async def test_cancel_one_of_four_and_three_are_answered(tiny: Path) -> None:
    async with Rig(tiny).running() as rig:
        first = await rig.busy()
        requests = [rig.classify(value) for value in (1, 2, 3, 4)]
        await rig.queued(4)
        requests[1].cancel()
        await asyncio.wait([requests[1]])
        rig.gate.open()
        ended = await asyncio.gather(first, *requests, return_exceptions=True)
    assert isinstance(ended.pop(2), asyncio.CancelledError)
    assert [classes(answers) for answers in ended] == [[0], [1], [3], [4]]  # type: ignore[arg-type]
    assert rig.backends[0].batches == [(1, 1), (3, 4)]
    assert rig.images("cancelled") == 1


async def test_cancelled_while_its_batch_runs_gets_no_answer_and_harms_nobody(tiny: Path) -> None:
    async with Rig(tiny).running() as rig:
        first = await rig.busy()
        requests = [rig.classify(1), rig.classify(2)]
        await rig.queued(2)
        rig.gate.open(1)
        await rig.gate.wait()
        requests[0].cancel()
        await asyncio.wait([requests[0]])
        rig.gate.open()
        assert classes(await first) == [0]
        assert classes(await requests[1]) == [2]
    assert rig.images("cancelled") == 1
    assert rig.images("ok") == 2


async def test_expired_in_the_queue_is_told_at_the_deadline_and_never_runs(tiny: Path) -> None:
    async with Rig(tiny).running() as rig:
        first = await rig.busy()
        [answer] = await rig.classify(1, timeout_s=0.1)
        assert isinstance(answer, DeadlineExceededError)
        rig.gate.open()
        await first
        assert classes(await rig.classify(2)) == [2]
    assert rig.backends[0].batches == [(1, 1), (1, 1)]
    assert rig.images("expired") == 1


async def test_expired_while_it_runs_is_told_at_the_deadline(tiny: Path) -> None:
    async with Rig(tiny).running() as rig:
        [answer] = await rig.classify(1, timeout_s=0.1)
        assert isinstance(answer, DeadlineExceededError)
    assert rig.images("expired") == 1


@pytest.mark.parametrize(
    ("remaining_s", "outcome"), [(EARLY_S, "expired"), (1.0, "expired"), (1.1, "cancelled")]
)
async def test_cancelled_just_before_the_deadline_counts_as_expired(
    tiny: Path, remaining_s: float, outcome: str
) -> None:
    clock = VirtualClock()
    async with Rig(tiny, clock=clock).running() as rig:
        request = rig.classify(1, timeout_s=100)
        await rig.gate.wait()
        clock.now += 100 - remaining_s
        request.cancel()
        await asyncio.wait([request])
        assert rig.images(outcome) == 1


async def test_a_deadline_that_has_passed_is_refused(tiny: Path) -> None:
    async with Rig(tiny).running() as rig:
        with pytest.raises(DeadlineExceededError, match="had passed"):
            await rig.classify(1, 2, timeout_s=0)
    assert rig.sample("rejections_total", reason="deadline") == 2


class Slow:
    """A source whose decoding takes until it is told to go on."""

    def __init__(self) -> None:
        self.started, self.finish = threading.Event(), threading.Event()

    def size(self, limits: ImageLimits) -> Size:
        return Size("slow", 0, 0)

    def pixels(self, transform: Transform, limits: ImageLimits) -> Pixels:
        self.started.set()
        assert self.finish.wait(30)
        return np.zeros((SIDE, SIDE, 3), np.uint8)


class Broken:
    """A source with a bug."""

    def size(self, limits: ImageLimits) -> Size:
        return Size("broken", 0, 0)

    def pixels(self, transform: Transform, limits: ImageLimits) -> Pixels:
        raise ZeroDivisionError


async def test_expired_before_decoding_is_not_decoded(tiny: Path) -> None:
    slow, never = Slow(), Slow()
    async with Rig(tiny, gate=Gate(is_open=True)).running() as rig:
        decoding = asyncio.ensure_future(rig.model.classify([slow], rig.model.clock() + 30))
        assert await asyncio.to_thread(slow.started.wait, 30)
        [answer] = await rig.model.classify([never], rig.model.clock() + 0.1)
        assert isinstance(answer, DeadlineExceededError)
        slow.finish.set()
        await decoding
    assert not never.started.is_set()


async def test_cancelled_while_decoding_leaves_before_the_device(tiny: Path) -> None:
    slow = Slow()
    async with Rig(tiny, gate=Gate(is_open=True)).running() as rig:
        request = asyncio.ensure_future(rig.model.classify([slow], rig.model.clock() + 30))
        assert await asyncio.to_thread(slow.started.wait, 30)
        request.cancel()
        await asyncio.wait([request])
        assert rig.sample("inflight_images") == 1  # decoding still writes into the slot
        slow.finish.set()
        await until(lambda: rig.sample("inflight_images") == 0)
    assert rig.backends[0].batches == []


async def test_one_bad_image_among_good_ones_fails_alone(tiny: Path) -> None:
    async with Rig(tiny, gate=Gate(is_open=True)).running() as rig:
        sources = [grey(1), Encoded(b"no image"), grey(2)]
        good, bad, better = await rig.model.classify(sources, rig.model.clock() + 30)
    assert classes([good, better]) == [1, 2]
    assert isinstance(bad, InvalidImageError)
    assert rig.images("invalid") == 1


async def test_a_bug_while_decoding_is_logged_and_told_as_an_id(
    tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Rig(tiny, gate=Gate(is_open=True)).running() as rig:
        [answer] = await rig.model.classify([Broken()], rig.model.clock() + 30)
    assert isinstance(answer, InternalError)
    assert "ZeroDivisionError" in caplog.text
    assert str(answer).removeprefix("internal error ") in caplog.text
    assert rig.images("failed") == 1


async def test_of_a_failing_batch_the_good_half_is_answered(
    tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Rig(tiny).running() as rig:
        first = await rig.busy()
        good, bad = rig.classify(1, 2), rig.classify(Gate.POISON, 4)
        await rig.queued(4)
        rig.gate.open()
        await first
        assert classes(await good) == [1, 2]
        assert all(isinstance(answer, InternalError) for answer in await bad)
        assert classes(await rig.classify(5)) == [5]
    assert rig.backends[0].batches == [(1, 1), (4, 4), (2, 2), (2, 2), (1, 1)]
    assert rig.images("failed") == 2
    [batch, half] = caplog.records
    assert batch.getMessage() == "a batch of 4 failed: running halves"
    assert batch.exc_info
    assert half.levelname == "ERROR"


async def test_who_leaves_a_failing_batch_is_not_in_its_halves(tiny: Path) -> None:
    async with Rig(tiny).running() as rig:
        first = await rig.busy()
        requests = [rig.classify(value) for value in (1, 2, Gate.POISON, 4)]
        await rig.queued(4)
        rig.gate.open(1)
        await rig.gate.wait()
        requests[0].cancel()
        await asyncio.wait([requests[0]])
        rig.gate.open()
        await first
        assert classes(await requests[1]) == [2]
        for request in requests[2:]:
            assert isinstance((await request)[0], InternalError)
    assert rig.backends[0].batches == [(1, 1), (4, 4), (1, 1), (2, 2)]
    assert rig.images("cancelled") == 1


async def test_who_leaves_a_failing_half_harms_nobody(tiny: Path) -> None:
    async with Rig(tiny).running() as rig:
        first = await rig.busy()
        requests = [rig.classify(value) for value in (Gate.POISON, 2, 3, 4)]
        await rig.queued(4)
        rig.gate.open(2)
        for _ in range(2):  # the batch, then its first half
            await rig.gate.wait()
        requests[0].cancel()
        await asyncio.wait([requests[0]])
        rig.gate.open()
        await first
        assert isinstance((await requests[1])[0], InternalError)
        assert [classes(await request) for request in requests[2:]] == [[3], [4]]
    assert rig.images("cancelled") == 1
    assert rig.images("failed") == 1


async def test_a_failing_single_image_runs_once(tiny: Path) -> None:
    async with Rig(tiny, gate=Gate(is_open=True)).running() as rig:
        [answer] = await rig.classify(Gate.POISON)
    assert isinstance(answer, InternalError)
    assert rig.backends[0].batches == [(1, 1)]


async def test_a_full_pool_refuses_whole_requests_with_a_hint(tiny: Path) -> None:
    async with Rig(tiny, slots=3).running() as rig:
        first = await rig.busy()
        waiting = rig.classify(1)
        await rig.queued(1)
        with pytest.raises(OverloadedError, match="2 of 3 slots are taken") as refused:
            await rig.classify(2, 3)
        assert 0 < refused.value.retry_after_ms <= 10_000
        fitting = rig.classify(4)
        await rig.queued(2)
        rig.gate.open()
        assert [classes(await task) for task in (first, waiting, fitting)] == [[0], [1], [4]]
    assert rig.sample("rejections_total", reason="queue_full") == 2
    assert rig.images("rejected") == 2


async def test_the_slots_of_the_cancelled_are_free_for_others(tiny: Path) -> None:
    async with Rig(tiny, slots=2).running() as rig:
        await rig.busy()
        leaving = rig.classify(1)
        await rig.queued(1)
        leaving.cancel()
        await asyncio.wait([leaving])
        staying = rig.classify(2)
        await asyncio.sleep(0)  # it is admitted now, while the device is still busy
        rig.gate.open()
        assert classes(await staying) == [2]


async def test_idle_devices_share_a_burst(tiny: Path) -> None:
    async with Rig(tiny, devices=2).running() as rig:
        request = rig.classify(*range(8))
        await rig.gate.wait()
        await rig.gate.wait()
        taken = sum(n for backend in rig.backends for n, _ in backend.batches)
        await rig.queued(8 - taken)
        rig.gate.open()
        assert len(await request) == 8
    sizes = [[n for n, _ in backend.batches] for backend in rig.backends]
    assert all(sizes)
    assert max(map(max, sizes)) <= 4


async def test_closing_tells_those_who_wait(tiny: Path) -> None:
    async with Rig(tiny).running() as rig:
        first = await rig.busy()
        waiting = rig.classify(1)
        await rig.queued(1)
        closing = asyncio.create_task(asyncio.to_thread(rig.model.close))
        [answer] = await waiting
        assert isinstance(answer, UnavailableError)
        rig.gate.open()
        assert classes(await first) == [0]
        await closing


class EqualTime(Gate):
    """Has a batch of any size take equally long, so that the largest wins on a busy machine too."""

    def __call__(self, images: Pixels) -> None:
        time.sleep(0.002)


async def test_warm_up_runs_every_bucket_on_every_device(tiny: Path) -> None:
    rig = Rig(tiny, devices=2, gate=EqualTime())
    rig.model.warm_up()
    for backend in rig.backends:
        assert list(dict.fromkeys(backend.batches)) == [(1, 1), (2, 2), (4, 4), (8, 8)]
