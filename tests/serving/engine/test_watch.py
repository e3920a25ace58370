"""Work that is overdue: what it stops, and how that ends."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from images.limits import ImageLimits
from images.transform import Pixels
from serving.engine import decode as decode_module
from serving.engine import device as device_module
from serving.engine.sources import Size
from serving.engine.watch import PATIENCE
from serving.errors import DeviceLostError, UnavailableError
from tests.serving.engine.test_background import Slow as SlowImage
from tests.serving.engine.test_background import ask
from tests.serving.engine.test_failures import Failing
from tests.serving.engine.test_model import Slow
from tests.support.serving import Gate, Rig, VirtualClock, classes, until

OVERDUE_S = 5.0


class Watched(Rig):
    """A rig whose watch looks when it is told to, on a clock that a test moves."""

    def __init__(self, path: Path, devices: int = 1, gate: Gate | None = None) -> None:
        self.time = VirtualClock()
        super().__init__(path, devices, gate=gate or Gate(), clock=self.time, overdue_s=OVERDUE_S)
        self.model.watch.start = lambda: None  # type: ignore[method-assign]
        self.told = 0
        self.model.on_ready(self._count)

    def look(self, later_s: float = OVERDUE_S + 1) -> None:
        self.time.now += later_s
        self.model.watch.look()

    def ready(self, device: int = 0) -> float | None:
        return self.sample("device_ready", device=f"cpu#{device}")

    def _count(self) -> None:
        self.told += 1


class Holding(Gate):
    """A gate for the images of `Rig.busy` only."""

    def __call__(self, images: Pixels) -> None:
        if not images.any():
            super().__call__(images)


class Sized(Slow):
    def size(self, limits: ImageLimits) -> Size:
        return Size("slow", 12, 34)


@asynccontextmanager
async def hanging(rig: Watched) -> AsyncIterator[None]:
    """Classify an image whose decoding hangs until the context is left."""
    source = Sized()
    request = asyncio.ensure_future(rig.model.classify([source], rig.model.clock() + 3600))
    assert await asyncio.to_thread(source.started.wait, 30)
    try:
        yield
    finally:
        source.finish.set()
    await request


@pytest.mark.usefixtures("decoding")
async def test_a_batch_that_hangs_stops_the_model_until_it_ends(tiny: Path) -> None:
    async with Watched(tiny).running() as rig:
        assert isinstance(rig, Watched)
        first = await rig.busy()
        waiting = rig.classify(1, timeout_s=3600)
        await rig.queued(1)
        rig.look(OVERDUE_S - 1)
        assert rig.model.ready
        rig.look(2)
        assert not rig.model.ready
        assert rig.ready() == 0
        [answer] = await waiting
        assert isinstance(answer, UnavailableError)
        with pytest.raises(UnavailableError, match="work is overdue; try another server"):
            await rig.classify(2)
        rig.gate.open()
        assert classes(await first) == [0]
        rig.look(0)
        assert rig.model.ready
        assert rig.ready() == 1
        assert classes(await rig.classify(3)) == [3]
        assert rig.told == 2
    assert rig.sample("overdue_total", work="run") == 1
    assert rig.sample("rejections_total", reason="not_ready") == 1


async def test_a_batch_has_a_multiple_of_its_predicted_time(tiny: Path) -> None:
    async with Watched(tiny).running() as rig:
        assert isinstance(rig, Watched)
        for device in rig.model.devices:
            device.latency.seed(1, 2 * OVERDUE_S)
        await rig.busy()
        rig.look(2 * OVERDUE_S * PATIENCE - 1)
        assert rig.model.ready
        rig.look(2)
        assert not rig.model.ready


@pytest.mark.usefixtures("decoding")
async def test_the_other_device_goes_on(tiny: Path) -> None:
    async with Watched(tiny, devices=2, gate=Holding()).running() as rig:
        assert isinstance(rig, Watched)
        await rig.busy()
        rig.look()
        assert rig.model.ready
        assert rig.ready(0) + rig.ready(1) == 1  # type: ignore[operator]
        assert rig.sample("overdue_workers") == 1
        assert classes(await rig.classify(1, 2)) == [1, 2]


@pytest.mark.usefixtures("decoding")
async def test_a_decode_that_hangs_stops_the_model_until_it_ends(
    tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Watched(tiny, gate=Gate(is_open=True)).running() as rig:
        assert isinstance(rig, Watched)
        async with hanging(rig):
            waiting = rig.classify(1, timeout_s=3600)
            await until(lambda: rig.waiting() == 1)
            rig.look()
            assert not rig.model.ready
            [answer] = await waiting
            assert isinstance(answer, UnavailableError)
            with pytest.raises(UnavailableError, match="overdue"):
                await rig.classify(2)
            rig.look()  # it is told once
        rig.look(0)
        assert rig.model.ready
        assert classes(await rig.classify(3)) == [3]
    assert rig.sample("overdue_total", work="decode") == 1
    begun, ended = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "format slow, 12 pixels, 34 bytes), for 6.0 s: is overdue" in begun.getMessage()
    assert "for 12.0 s: has ended" in ended.getMessage()


async def test_of_two_threads_that_decode_one_goes_on(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rig, "decode_threads", 2)
    async with Watched(tiny, gate=Gate(is_open=True)).running() as rig:
        assert isinstance(rig, Watched)
        async with hanging(rig):
            rig.look()
            assert rig.model.ready
            assert rig.sample("overdue_workers") == 1
            assert classes(await rig.classify(1)) == [1]
            async with hanging(rig):
                rig.look()
                assert not rig.model.ready
            rig.look(0)
            assert rig.model.ready


async def test_a_background_thread_that_hangs_stops_only_slow_images(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Watched(tiny, gate=Gate(is_open=True))
    monkeypatch.setattr(decode_module, "thread_clock", lambda: rig.time)
    hung, waiting, later = SlowImage(), SlowImage(), SlowImage()
    async with rig.running():
        hanging = ask(rig, hung, timeout_s=3600)
        assert await asyncio.to_thread(hung.started.wait, 30)
        request = ask(rig, waiting, timeout_s=3600)
        await until(lambda: rig.sample("background_images") == 1)
        rig.look()
        for failed in (request, ask(rig, waiting, timeout_s=3600)):
            [answer] = await failed
            assert isinstance(answer, UnavailableError)
        assert rig.model.ready
        assert classes(await rig.classify(1)) == [1]
        hung.may_end.set()
        assert classes(await hanging) == [5]
        await until(lambda: rig.model.background.workers[0].task is None)
        rig.look(0)
        later.may_end.set()
        assert classes(await ask(rig, later)) == [5]
    assert rig.sample("overdue_total", work="decode") == 1


async def test_a_background_thread_that_waits_for_a_core_is_not_overdue(tiny: Path) -> None:
    rig, image = Watched(tiny, gate=Gate(is_open=True)), SlowImage()
    async with rig.running():
        request = ask(rig, image, timeout_s=3600)
        assert await asyncio.to_thread(image.started.wait, 30)
        rig.look()
        assert rig.sample("overdue_workers") == 0
        image.may_end.set()
        assert classes(await request) == [5]


async def test_the_log_names_all_that_is_overdue(
    tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Watched(tiny, devices=2).running() as rig:
        assert isinstance(rig, Watched)
        await rig.busy()
        await rig.busy()
        rig.look()
    [entry] = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "cpu#0: running" in entry.getMessage()
    assert "cpu#1: running" in entry.getMessage()


async def test_reopening_that_hangs_is_waited_for_only_so_long(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_module, "FIRST_PAUSE_S", 0.0)
    gate = Failing(DeviceLostError("the worker died"))
    rig = Watched(tiny, gate=gate)
    rig.may_reopen.clear()
    async with rig.running():
        await rig.classify(1)
        await until(lambda: rig.model.devices[0].runner.worker.task is not None)
        waiting = rig.classify(2, timeout_s=3600)
        await rig.queued(1)
        rig.look()
        [answer] = await waiting
        assert isinstance(answer, UnavailableError)
        gate.error = None
        rig.may_reopen.set()
        await until(lambda: rig.model.devices[0].runner.worker.task is None)
        assert not rig.model.ready
        rig.look(0)
        assert rig.model.ready
        assert classes(await rig.classify(3)) == [3]
    assert rig.sample("overdue_total", work="reopen") == 1


async def test_the_watch_looks_by_itself_and_says_what_runs(tiny: Path) -> None:
    async with Rig(tiny, overdue_s=0.01).running() as rig:
        await rig.busy()
        await until(lambda: not rig.model.ready)
        [running] = rig.model.watch.unfinished()
        assert running.startswith("tiny, cpu#0: running a batch of 1, for ")
        rig.gate.open()
        await until(lambda: rig.model.ready)
        assert rig.model.watch.unfinished() == []


async def test_without_a_limit_nothing_is_overdue(tiny: Path) -> None:
    clock = VirtualClock()
    async with Rig(tiny, clock=clock, overdue_s=math.inf).running() as rig:
        await rig.busy()
        clock.now += 1e9
        rig.model.watch.look()
        assert rig.model.ready
