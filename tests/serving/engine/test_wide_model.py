"""A model whose lone images run on the cores of all instances, until that fails."""

import asyncio
from pathlib import Path

import pytest

from images.transform import Pixels
from serving.errors import DeviceLostError
from tests.support.serving import Gate, Rig, classes, fake_backend, until


class WideRig(Rig):
    """A model of two fake devices, with a wide backend that answers alike."""

    def __post_init__(self) -> None:
        self.wide_gate = Gate(is_open=True)
        self.wide = self.wide_backend = fake_backend(self.wide_gate)
        super().__post_init__()
        assert self.model.wide
        self.model.wide.sizes = (1,)

    async def idle(self) -> None:
        """Wait until no batch runs: a device notes that just after its answers."""
        await until(lambda: self.model.wide is not None and not self.model.wide.running)

    @property
    def wide_batches(self) -> int:
        return len(self.wide_backend.batches)


pytest_decoding = pytest.mark.usefixtures("decoding")


@pytest_decoding
async def test_who_comes_alone_is_answered_by_a_wide_batch(tiny: Path) -> None:
    async with WideRig(tiny, devices=2, gate=Gate(is_open=True)).running() as rig:
        for value in (3, 4):
            await rig.idle()
            assert classes(await rig.classify(value)) == [value]
        assert rig.sample("wide_batches_total") == 2
        assert rig.wide_backend.batches == [(1, 1)] * 2
        assert not any(backend.batches for backend in rig.backends)
        assert classes(await rig.classify(1, 2)) == [1, 2]
    assert rig.wide_backend.is_closed


@pytest_decoding
async def test_who_comes_beside_others_is_answered_on_one_core(tiny: Path) -> None:
    async with WideRig(tiny, devices=2).running() as rig:
        assert rig.model.wide
        rig.model.wide.sizes = ()
        first = await rig.busy()
        rig.model.wide.sizes = (1,)
        second = rig.classify(1)
        await rig.gate.wait()
        rig.gate.open()
        assert classes(await first + await second) == [0, 1]
        assert rig.wide_batches == 0
        await rig.idle()
        assert classes(await rig.classify(2)) == [2]
        assert rig.wide_batches == 1


async def test_a_batch_that_is_decoded_while_another_comes_runs_on_one_core(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rig, "decode_threads", 0)
    async with WideRig(tiny, devices=2).running() as rig:
        wide = rig.model.wide
        assert wide
        monkeypatch.setattr(type(wide), "is_alone", property(lambda _: False))
        request = rig.classify(5)
        await rig.gate.wait()
        rig.gate.open()
        assert classes(await request) == [5]
        assert rig.wide_batches == 0


@pytest_decoding
@pytest.mark.parametrize("error", [DeviceLostError("gone"), ValueError("nonsense")])
async def test_a_wide_batch_that_fails_runs_on_one_core_and_none_is_wide_again(
    tiny: Path, error: Exception
) -> None:
    def fail(_: Pixels) -> None:
        raise error

    async with WideRig(tiny, devices=2, gate=Gate(is_open=True)).running() as rig:
        rig.wide_backend.before_run = fail
        assert classes(await rig.classify(4)) == [4]
        assert rig.wide_backend.is_closed
        assert classes(await rig.classify(5)) == [5]
    assert rig.wide_batches == 1
    assert rig.sample("wide_batches_total") == 0
    assert rig.images("failed") == 0


@pytest_decoding
async def test_after_a_device_was_lost_batches_run_wide_again(tiny: Path) -> None:
    rig = WideRig(tiny, devices=2, gate=Gate(is_open=True))
    async with rig.running():
        assert rig.model.wide
        for backend in rig.backends:
            backend.before_run = lose
        rig.model.wide.sizes = ()
        await rig.classify(1)
        await until(lambda: len(rig.backends) == 3 and rig.model.ready)
        rig.model.wide.sizes = (1,)
        await until(lambda: len(rig.model.batcher.serving) == 2)
        await rig.idle()
        assert classes(await rig.classify(2)) == [2]
        assert rig.wide_batches == 1


def lose(_: Pixels) -> None:
    raise DeviceLostError("the worker died")


async def test_in_a_burst_at_most_the_first_is_wide(tiny: Path) -> None:
    async with WideRig(tiny, devices=2, gate=Gate(is_open=True)).running() as rig:
        rig.wide_gate = Gate()
        rig.wide_backend.before_run = rig.wide_gate
        first = rig.classify(0)
        await rig.wide_gate.wait()
        others = [rig.classify(value) for value in range(1, 6)]
        answers = await asyncio.gather(*others)
        assert [classes(answer) for answer in answers] == [[1], [2], [3], [4], [5]]
        rig.wide_gate.open()
        assert classes(await first) == [0]
        assert rig.wide_batches == 1
