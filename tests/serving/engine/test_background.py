"""Images that are slow to decode: who waits for them, and who does not."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from images.limits import Cost, ImageLimits
from images.transform import Pixels, Transform
from serving.engine.queue import thread_clock
from serving.engine.room import Limits
from serving.engine.sources import Size
from serving.errors import (
    InvalidImageError,
    InvalidRequestError,
    OverloadedError,
    UnavailableError,
)
from tests.support.bundles import SIDE
from tests.support.serving import Gate, Rig, classes, grey, until

pytestmark = pytest.mark.usefixtures("decoding")

SLOW = Size("PNG", 50_000_000, 6_000)


class Slow:
    """An image that is decoded only once it may be."""

    def __init__(self) -> None:
        self.started, self.may_end = threading.Event(), threading.Event()

    def size(self, limits: ImageLimits) -> Size:
        return SLOW

    def pixels(self, transform: Transform, limits: ImageLimits) -> Pixels:
        self.started.set()
        assert self.may_end.wait(30)
        return np.full((SIDE, SIDE, 3), 5, np.uint8)


def ask(rig: Rig, *images: Slow, timeout_s: float = 30.0) -> "asyncio.Task[list[object]]":
    deadline = rig.model.clock() + timeout_s
    return asyncio.ensure_future(rig.model.classify(images, deadline))  # type: ignore[arg-type]


async def test_no_other_image_waits_for_slow_ones(tiny: Path) -> None:
    images = [Slow() for _ in range(6)]
    async with Rig(tiny, gate=Gate(is_open=True)).running() as rig:
        slow = ask(rig, *images)
        assert await asyncio.to_thread(images[0].started.wait, 30)
        for value in range(20):
            assert classes(await rig.classify(value % 6)) == [value % 6]
        assert rig.sample("background_images") == 5
        for image in images:
            image.may_end.set()
        assert classes(await slow) == [5] * 6
    assert rig.sample("background_images") == 0
    assert rig.images("ok") == 26


class Disguised(Slow):
    """A slow image that looks like a quick one until its whole file is walked over."""

    def size(self, limits: ImageLimits) -> Size:
        return Size("PNG", 64, 100)

    def pixels(self, transform: Transform, limits: ImageLimits) -> Pixels:
        limits.check_cost(Cost("disguised", nbytes=0, ns=800_000_000))
        return super().pixels(transform, limits)


async def test_what_turns_out_to_be_slow_is_passed_on(tiny: Path) -> None:
    images = [Disguised() for _ in range(6)]
    async with Rig(tiny, gate=Gate(is_open=True), slots=8).running() as rig:
        slow = ask(rig, *images)
        await until(lambda: rig.sample("background_images") == 5)
        assert classes(await rig.classify(1)) == [1]
        with pytest.raises(OverloadedError, match="6 of 6 slots for images that are slow"):
            await ask(rig, Slow())
        for image in images:
            image.may_end.set()
        assert classes(await slow) == [5] * 6
    assert rig.images("ok") == 7


async def test_what_turns_out_to_be_too_slow_is_refused(tiny: Path) -> None:
    async with Rig(tiny, gate=Gate(is_open=True)).running() as rig:
        background = rig.model.background._decode
        background._image_limits = ImageLimits(max_image_ms=700)
        [answer] = await ask(rig, Disguised())
        assert isinstance(answer, InvalidImageError)
        assert "about 800 ms of CPU time; max_image_ms allows at most 700" in str(answer)


async def test_the_earliest_deadline_comes_first_among_slow_ones(tiny: Path) -> None:
    first, late, early = Slow(), Slow(), Slow()
    async with Rig(tiny, gate=Gate(is_open=True)).running() as rig:
        requests = [ask(rig, first)]
        assert await asyncio.to_thread(first.started.wait, 30)
        requests += [ask(rig, late, timeout_s=30), ask(rig, early, timeout_s=20)]
        await until(lambda: rig.waiting() == 2)
        first.may_end.set()
        assert await asyncio.to_thread(early.started.wait, 30)
        assert not late.started.is_set()
        early.may_end.set()
        late.may_end.set()
        await asyncio.gather(*requests)


async def test_slow_images_leave_room_for_the_others(tiny: Path) -> None:
    images = [Slow() for _ in range(9)]
    async with Rig(tiny, gate=Gate(is_open=True), slots=8).running() as rig:
        with pytest.raises(InvalidRequestError, match="needs 7 slots for images that are slow"):
            await ask(rig, *images[:7])
        slow = ask(rig, *images[:6])
        await until(lambda: rig.sample("background_images") == 5)
        with pytest.raises(OverloadedError, match="6 of 6 slots for images that are slow to dec"):
            await ask(rig, images[7])
        assert classes(await rig.classify(1, 2)) == [1, 2]
        for image in images:
            image.may_end.set()
        await slow


async def test_a_single_image_of_the_largest_size_is_told_to_wait(tiny: Path) -> None:
    images = [Slow(), Slow()]
    limits = Limits(8, 10**6, SLOW.pixels + 1000)
    async with Rig(tiny, gate=Gate(is_open=True), limits=limits).running() as rig:
        request = ask(rig, images[0])
        assert await asyncio.to_thread(images[0].started.wait, 30)
        assert classes(await rig.classify(3)) == [3]
        with pytest.raises(OverloadedError):
            await ask(rig, images[1])
        with pytest.raises(OverloadedError):  # likewise beside one that is not slow
            await rig.model.classify([images[1], grey(3)], rig.model.clock() + 30)
        images[0].may_end.set()
        await request


async def test_the_cancelled_among_slow_ones_make_room(tiny: Path) -> None:
    images = [Slow() for _ in range(4)]
    async with Rig(tiny, gate=Gate(is_open=True), slots=4).running() as rig:
        first = ask(rig, images[0])
        assert await asyncio.to_thread(images[0].started.wait, 30)
        leaving = ask(rig, images[1], images[2])
        await until(lambda: rig.sample("background_images") == 2)
        leaving.cancel()
        await asyncio.wait([leaving])
        staying = ask(rig, images[3])
        for image in images:
            image.may_end.set()
        assert classes(await first) == classes(await staying) == [5]
    assert not images[1].started.is_set()


async def test_closing_tells_slow_ones_that_wait(tiny: Path) -> None:
    first, waiting = Slow(), Slow()
    async with Rig(tiny, gate=Gate(is_open=True)).running() as rig:
        requests = ask(rig, first), ask(rig, waiting)
        await until(lambda: rig.sample("background_images") == 1)
        closing = asyncio.create_task(asyncio.to_thread(rig.model.close))
        [answer] = await requests[1]
        assert isinstance(answer, UnavailableError)
        first.may_end.set()
        await asyncio.gather(requests[0], closing)


async def test_a_guess_refuses_nobody(tiny: Path) -> None:
    async with Rig(tiny, gate=Gate(is_open=True)).running() as rig:
        for bucket in rig.model.buckets:
            rig.model.devices[0].latency.seed(bucket, 0.001)
        image = Slow()
        image.may_end.set()
        assert rig.model._admission._forecast.decode_time(0.0, SLOW).usual_s > 0.15
        assert classes(await ask(rig, image, timeout_s=0.15)) == [5]


async def test_a_threads_clock_tells_its_own_time_to_others() -> None:
    clock = thread_clock()
    with ThreadPoolExecutor(1) as other:
        before = time.thread_time()
        seen = other.submit(clock).result()
        assert before <= seen <= time.thread_time()
        theirs = other.submit(thread_clock).result()
    await until(lambda: theirs() == 0.0)  # the thread has ended
