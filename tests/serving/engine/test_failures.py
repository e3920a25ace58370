"""A device that fails: what its callers are told, and how it comes back."""

import asyncio
import threading
from pathlib import Path

import pytest

from images.transform import Pixels
from serving.engine import device as device_module
from serving.errors import (
    DeviceLostError,
    InternalError,
    OutOfDeviceMemoryError,
    ProcessLostError,
    UnavailableError,
)
from tests.support.serving import Gate, Rig, classes, until

pytestmark = pytest.mark.usefixtures("decoding")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "FIRST_PAUSE_S", 0.001)


class Failing(Gate):
    """A gate at which batches of more than `above` images fail while `error` is set."""

    def __init__(self, error: Exception | None, *, above: int = 0, is_open: bool = True) -> None:
        super().__init__(is_open=is_open)
        self.error, self.above = error, above

    def __call__(self, images: Pixels) -> None:
        super().__call__(images)
        if self.error and len(images) > self.above:
            raise self.error


class FailingTogether(Gate):
    """A gate at which batches of 8 run out of memory, two at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.both = threading.Barrier(2, timeout=60)

    def __call__(self, images: Pixels) -> None:
        super().__call__(images)
        if len(images) == 8:
            self.both.wait()
            raise OutOfDeviceMemoryError("none left")


async def test_out_of_memory_runs_smaller_batches_and_never_that_size_again(tiny: Path) -> None:
    gate = Failing(OutOfDeviceMemoryError("none left"), above=2, is_open=False)
    async with Rig(tiny, gate=gate).running() as rig:
        first = await rig.busy()
        burst = rig.classify(*range(8))
        await rig.queued(8)
        gate.open()
        await first
        assert classes(await burst) == [0, 1, 2, 3, 4, 5, 0, 1]
        assert classes(await rig.classify(*range(8))) == [0, 1, 2, 3, 4, 5, 0, 1]
    assert [bucket for _, bucket in rig.backends[0].batches if bucket > 2] == [8, 4]
    assert rig.images("failed") == 0


async def test_two_devices_may_run_out_of_memory_at_once(tiny: Path) -> None:
    gate = FailingTogether()
    async with Rig(tiny, devices=2, gate=gate).running() as rig:
        first, second = await rig.busy(), await rig.busy()
        burst = rig.classify(*range(32))
        await rig.queued(32)  # of which either device takes 8
        gate.open()
        await asyncio.gather(first, second)
        assert classes(await burst) == [value % 6 for value in range(32)]
        assert classes(await rig.classify(*range(32))) == [value % 6 for value in range(32)]
        assert not gate.both.broken
    assert rig.images("failed") == 0


async def test_a_device_comes_back_with_the_batches_that_fit(tiny: Path) -> None:
    gate = Failing(DeviceLostError("the worker died"))
    rig = Rig(tiny, gate=gate)
    rig.may_reopen.clear()
    async with rig.running():
        await rig.classify(1)
        await until(lambda: rig.sample("device_ready", device="cpu#0") == 0)
        gate.error, gate.above = OutOfDeviceMemoryError("a neighbour has it"), 2
        rig.may_reopen.set()
        await until(lambda: rig.sample("device_ready", device="cpu#0") == 1)
        assert classes(await rig.classify(*range(8))) == [0, 1, 2, 3, 4, 5, 0, 1]
        assert {bucket for _, bucket in rig.backends[-1].batches} == {1, 2}


async def test_the_smallest_batch_out_of_memory_fails(tiny: Path) -> None:
    gate = Failing(OutOfDeviceMemoryError("none left"))
    async with Rig(tiny, gate=gate).running() as rig:
        [answer] = await rig.classify(1)
        assert isinstance(answer, InternalError)
        gate.error = None
        assert classes(await rig.classify(2)) == [2]


async def test_a_lost_device_fails_its_batch_and_is_reopened(tiny: Path) -> None:
    gate = Failing(DeviceLostError("the worker died"))
    rig = Rig(tiny, gate=gate)
    rig.may_reopen.clear()
    async with rig.running():
        [answer] = await rig.classify(1)
        assert isinstance(answer, DeviceLostError)
        gate.error = None
        rig.may_reopen.set()
        assert classes(await rig.classify(2)) == [2]
        await until(lambda: rig.model.ready)
        assert rig.backends[0].is_closed
        assert not rig.backends[-1].is_closed
        assert rig.sample("device_ready", device="cpu#0") == 1
        assert rig.sample("cold_batches_total") == 0


async def test_while_it_cannot_be_opened_callers_are_told_and_the_model_is_not_ready(
    tiny: Path,
) -> None:
    gate = Failing(DeviceLostError("the worker died"))
    rig = Rig(tiny, gate=gate)
    changes: list[bool] = []
    rig.model.on_ready(lambda: changes.append(rig.model.ready))
    async with rig.running():
        await rig.classify(1)
        await until(lambda: len(rig.backends) > 3)  # several attempts, all of which fail
        with pytest.raises(UnavailableError, match="being reopened"):
            await rig.classify(2)
        assert not rig.model.ready
        assert rig.sample("device_ready", device="cpu#0") == 0
        assert rig.sample("rejections_total", reason="not_ready") == 1
        gate.error = None
        await until(lambda: rig.model.ready)
        assert classes(await rig.classify(3)) == [3]
        await until(lambda: changes[-1])
    assert changes[0] is False
    assert all(backend.is_closed for backend in rig.backends)


async def test_other_devices_go_on(tiny: Path) -> None:
    rig = Rig(tiny, devices=2, gate=Gate(is_open=True))
    rig.may_reopen.clear()
    rig.backends[0].before_run = Failing(DeviceLostError("unplugged"))
    async with rig.running():
        while rig.sample("device_ready", device="cpu#0"):
            await rig.classify(1)
        assert rig.model.ready
        assert classes(await rig.classify(*range(20))) == [value % 6 for value in range(20)]
        rig.may_reopen.set()
        await until(lambda: rig.sample("device_ready", device="cpu#0") == 1)


async def test_a_device_that_the_process_has_lost_is_neither_reopened_nor_closed(
    tiny: Path,
) -> None:
    rig = Rig(tiny, gate=Failing(ProcessLostError("an illegal memory access"), is_open=False))
    changes: list[ProcessLostError | None] = []
    rig.model.on_ready(lambda: changes.append(rig.model.lost_process))
    async with rig.running():
        running = await rig.busy()
        waiting = rig.classify(2)
        await rig.queued(1)
        rig.gate.open()
        [answer] = await running
        assert isinstance(answer, ProcessLostError)
        [answer] = await waiting
        assert isinstance(answer, UnavailableError)
        await until(lambda: bool(changes))
        assert changes == [rig.model.lost_process]
        assert not rig.model.ready
    assert len(rig.backends) == 1
    assert not rig.backends[0].is_closed


async def test_a_device_that_the_process_loses_while_it_is_reopened_stays_away(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_module, "LONGEST_PAUSE_S", 3600.0)
    gate = Failing(DeviceLostError("the worker died"))
    rig = Rig(tiny, gate=gate)
    rig.may_reopen.clear()
    async with rig.running():
        await rig.classify(1)
        gate.error = ProcessLostError("an illegal memory access")
        rig.may_reopen.set()
        await until(lambda: rig.model.lost_process is gate.error)
        await until(lambda: rig.model.batcher.is_lost)
    assert [backend.is_closed for backend in rig.backends] == [True, False]


async def test_a_backend_that_keeps_failing_is_reopened(tiny: Path) -> None:
    gate = Failing(ValueError("nonsense"))
    async with Rig(tiny, gate=gate).running() as rig:
        for value in range(10):
            [answer] = await rig.classify(value)
            assert isinstance(answer, InternalError)
        await until(lambda: not rig.model.ready)
        gate.error = None
        await until(lambda: rig.model.ready)
        assert classes(await rig.classify(1)) == [1]
    assert len(rig.backends) > 1


async def test_closing_does_not_wait_for_a_device_that_stays_away(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_module, "FIRST_PAUSE_S", 3600.0)
    monkeypatch.setattr(device_module, "LONGEST_PAUSE_S", 3600.0)
    async with (
        asyncio.timeout(10),
        Rig(tiny, gate=Failing(DeviceLostError("gone"))).running() as rig,
    ):
        await rig.classify(1)
        await until(lambda: len(rig.backends) == 2)
