"""Bounds on what is in flight, and the order in which it is decoded."""

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest

from images.limits import ImageLimits
from images.transform import Pixels, Transform
from serving.engine.room import Limits
from serving.engine.sources import Size
from serving.errors import DeadlineExceededError, InvalidRequestError, OverloadedError
from tests.support.bundles import SIDE
from tests.support.serving import Gate, Rig, classes, grey, until

pytestmark = pytest.mark.usefixtures("decoding")

BYTES = PIXELS = 64  # of one grey image


@pytest.mark.parametrize(
    ("limits", "unit", "reason"),
    [
        (Limits(64, 3 * BYTES, 10**9), "128 of 192 bytes in flight", "bytes"),
        (Limits(64, 10**9, 3 * PIXELS), "128 of 192 pixels in flight", "pixels"),
    ],
)
async def test_what_does_not_fit_now_is_refused_with_a_hint(
    tiny: Path, limits: Limits, unit: str, reason: str
) -> None:
    async with Rig(tiny, limits=limits).running() as rig:
        waiting = rig.classify(1, 2)
        await rig.gate.wait()
        with pytest.raises(OverloadedError, match=unit) as refused:
            await rig.classify(3, 4)
        assert 0 < refused.value.retry_after_ms <= 10_000
        rig.gate.open()
        assert classes(await waiting) == [1, 2]
        assert classes(await rig.classify(3, 4)) == [3, 4]
    assert rig.sample("rejections_total", reason=reason) == 2
    assert rig.sample("inflight_bytes") == 0


async def test_what_never_fits_is_no_overload(tiny: Path) -> None:
    async with Rig(tiny, limits=Limits(64, 3 * BYTES, 10**9)).running() as rig:
        with pytest.raises(InvalidRequestError, match="needs 256 bytes in flight, this server has"):
            await rig.classify(1, 2, 3, 4)


class Unseen:
    """A source at which nobody may look."""

    def size(self, limits: ImageLimits) -> Size:
        raise AssertionError

    def pixels(self, transform: Transform, limits: ImageLimits) -> Pixels:
        raise AssertionError


async def test_a_refused_request_is_not_even_looked_at(tiny: Path) -> None:
    async with Rig(tiny, limits=Limits(2, 4 * BYTES, 10**9)).running() as rig:
        waiting = rig.classify(1)
        await rig.gate.wait()
        deadline = rig.model.clock() + 10
        for sources, nbytes in ([Unseen()] * 2, 0), ([Unseen()], 4 * BYTES):
            with pytest.raises(OverloadedError):
                await rig.model.classify(sources, deadline, nbytes)
        with pytest.raises(DeadlineExceededError):
            await rig.model.classify([Unseen()], rig.model.clock())
        rig.gate.open()
        await waiting


async def test_a_deadline_that_cannot_be_met_is_refused_at_once_with_the_time(tiny: Path) -> None:
    async with Rig(tiny, gate=Gate(is_open=True)).running() as rig:
        for bucket in rig.model.buckets:
            rig.model.devices[0].latency.seed(bucket, 0.5 * bucket**0.9)
        with pytest.raises(DeadlineExceededError, match=r"would take 500.0 ms, and .* ms are left"):
            await rig.classify(1, timeout_s=0.1)
        answers = await rig.classify(*range(8), timeout_s=3)
        assert classes(answers[:4]) == [0, 1, 2, 3]
        assert all(isinstance(answer, DeadlineExceededError) for answer in answers[4:])
    assert rig.sample("rejections_total", reason="deadline") == 1 + 4
    assert rig.sample("goodput_images_total") == 4


class Noted:
    """A source that notes when it is decoded, and holds the first one back."""

    order: list[str]
    may_go_on: threading.Event

    def __init__(self, name: str) -> None:
        self.name = name

    def size(self, limits: ImageLimits) -> Size:
        return Size("noted", 0, 0)

    def pixels(self, transform: Transform, limits: ImageLimits) -> Pixels:
        self.order.append(self.name)
        assert self.may_go_on.wait(30)
        return np.zeros((SIDE, SIDE, 3), np.uint8)


async def test_decodes_the_earliest_deadline_first(tiny: Path) -> None:
    Noted.order, Noted.may_go_on = [], threading.Event()
    async with Rig(tiny, gate=Gate(is_open=True)).running() as rig:
        requests = []
        for name, timeout_s in (("first", 9), ("late", 30), ("early", 10), ("middle", 20)):
            deadline = rig.model.clock() + timeout_s
            requests.append(asyncio.ensure_future(rig.model.classify([Noted(name)], deadline)))
            await until(lambda: bool(Noted.order) and rig.waiting() == len(requests) - 1)
        Noted.may_go_on.set()
        await asyncio.gather(*requests)
    assert Noted.order == ["first", "early", "middle", "late"]


async def test_batches_are_counted_by_their_reason(tiny: Path) -> None:
    async with Rig(tiny).running() as rig:
        first = await rig.busy()
        others = rig.classify(*range(9))
        await rig.queued(9)
        rig.gate.open()
        await asyncio.gather(first, others)
    assert rig.sample("batches_total", reason="device_free") == 2
    assert rig.sample("batches_total", reason="full") == 1
    assert rig.sample("batches_total", reason="deadline") == 0


async def test_images_that_ran_for_nobody_are_counted(tiny: Path) -> None:
    async with Rig(tiny).running() as rig:
        leaving = await rig.busy()
        leaving.cancel()
        await asyncio.wait([leaving])
        rig.gate.open()
        assert classes(await rig.classify(1)) == [1]
    assert rig.sample("wasted_images_total") == 1
    assert rig.sample("goodput_images_total") == 1


def test_grey_is_as_large_as_it_says() -> None:
    assert grey(1).size(ImageLimits()) == Size("raw", PIXELS, BYTES)


@pytest.mark.parametrize("limits", [Limits(3, 10**9, 10**9), Limits(64, 10**9, 3 * PIXELS)])
async def test_an_image_that_is_due_much_later_gives_way(tiny: Path, limits: Limits) -> None:
    async with Rig(tiny, limits=limits).running() as rig:
        running = await rig.busy()
        patient, waiting = rig.classify(1, timeout_s=30), rig.classify(2, timeout_s=15)
        await until(lambda: rig.waiting() == 2)
        urgent = rig.classify(3, timeout_s=8)
        await until(lambda: patient.done())
        [displaced] = await patient
        assert isinstance(displaced, OverloadedError)
        assert "gave way to images that are due much earlier" in str(displaced)
        with pytest.raises(OverloadedError, match="are taken"):  # those left are as urgent
            await rig.classify(4, timeout_s=7.9)
        rig.gate.open()
        assert [classes(await task) for task in (running, waiting, urgent)] == [[0], [2], [3]]
    assert rig.sample("inflight_images") == 0
    assert rig.sample("images_total", outcome="rejected") == 2
