"""A shadow: what it counts, and that it gives way to everything."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from bundle.store import Bundle
from images.limits import ImageLimits
from images.transform import Pixels
from serving.backends.backend import Backend, Probabilities
from serving.engine import shadow as module
from serving.engine.shadow import Shadow, ShadowMetrics
from serving.engine.sources import Ready
from serving.errors import DeviceLostError, ProcessLostError
from serving.metrics import Metrics
from tests.support.bundles import LABELS, SIDE
from tests.support.fake_backend import FakeBackend
from tests.support.serving import Gate, Rig, classes, until


class Other(FakeBackend):
    """Answers the class after the one that is right."""

    def run(self, buffer: Pixels, images: int) -> Probabilities:
        return np.roll(super().run(buffer, images), 1, axis=1)


class NotANumber(FakeBackend):
    def run(self, buffer: Pixels, images: int) -> Probabilities:
        return super().run(buffer, images) * np.float32(np.nan)


@dataclass
class Shadowed:
    """A model with a shadow, whose backend is behind a gate of its own."""

    rig: Rig
    kind: type[FakeBackend] = FakeBackend
    gate: Gate = field(default_factory=lambda: Gate(is_open=True))
    is_idle: bool = True

    def __post_init__(self) -> None:
        self.registry = CollectorRegistry()
        self.backend = self.kind(len(LABELS), SIDE, self.gate)
        self.shadow = Shadow(
            Bundle.open(self.rig.path),
            self.open,
            1,
            is_idle=lambda: self.is_idle,
            image_limits=ImageLimits(),
            metrics=ShadowMetrics(Metrics(self.registry)),
        )

    def open(self, buckets: Sequence[int]) -> Backend:
        assert buckets == (1,)
        return self.backend

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Shadowed"]:
        """Run both; the shadow is open from the beginning."""
        self.rig.gate.open()
        async with self.rig.running():
            self.shadow.start()
            await until(lambda: self.shadow._takes)
            self.rig.model.shadow = self.shadow
            try:
                yield self
            finally:
                self.gate.open()
                await asyncio.to_thread(self.shadow.close)

    def count(self, outcome: str) -> float | None:
        labels = {"model": "tiny", "version": "1", "outcome": outcome}
        return self.registry.get_sample_value("serving_shadow_images_total", labels)

    def differences(self, name: str) -> float | None:
        labels = {"model": "tiny", "version": "1"}
        return self.registry.get_sample_value(f"serving_shadow_difference_{name}", labels)

    async def counted(self, **expected: int) -> None:
        """Wait until all is counted, which must be this."""
        every = ("agrees", "differs", "skipped", "failed")
        await until(lambda: sum(self.count(one) or 0 for one in every) >= sum(expected.values()))
        assert {one: self.count(one) for one in every if self.count(one)} == expected


async def test_an_equal_model_agrees(tiny: Path) -> None:
    async with Shadowed(Rig(tiny)).running() as test:
        for value in range(4):
            assert classes(await test.rig.classify(value)) == [value]
            await test.counted(agrees=value + 1)
        assert test.differences("count") == 4
        assert test.differences("sum") == 0


async def test_another_model_differs(tiny: Path) -> None:
    async with Shadowed(Rig(tiny), Other).running() as test:
        assert classes(await test.rig.classify(3)) == [3]
        await test.counted(differs=1)
        assert test.differences("sum") == 1


async def test_images_of_a_batch_run_one_by_one(tiny: Path) -> None:
    async with Shadowed(Rig(tiny)).running() as test:
        await test.rig.classify(1, 2, 3)
        await test.counted(agrees=3)
        assert test.backend.batches == [(1, 1)] * 3


async def test_nothing_is_taken_while_an_image_is_in_flight(tiny: Path) -> None:
    async with Shadowed(Rig(tiny)).running() as test:
        test.is_idle = False
        await test.rig.classify(1, 2)
        await test.counted(skipped=2)
        assert not test.backend.batches


async def test_what_waits_is_skipped_when_an_image_comes(tiny: Path) -> None:
    async with Shadowed(Rig(tiny), gate=Gate()).running() as test:
        await test.rig.classify(1, 2, 3)
        await test.gate.wait()
        test.is_idle = False
        test.gate.open(1)
        await test.counted(agrees=1, skipped=2)
        assert len(test.backend.batches) == 1


async def test_nobody_waits_for_it(tiny: Path) -> None:
    async with Shadowed(Rig(tiny), gate=Gate()).running() as test:
        await test.rig.classify(1)
        await test.gate.wait()
        assert classes(await test.rig.classify(2, 3)) == [2, 3]
        test.gate.open()
        await test.counted(agrees=3)


async def test_few_images_wait(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_IMAGES", 2)
    async with Shadowed(Rig(tiny), gate=Gate()).running() as test:
        await test.rig.classify(1)
        await test.gate.wait()
        await test.rig.classify(1, 2, 3, 4)
        await test.counted(skipped=2)
        test.gate.open()
        await test.counted(agrees=3, skipped=2)


async def test_few_bytes_wait(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 100)  # a grey image has 64
    async with Shadowed(Rig(tiny), gate=Gate()).running() as test:
        await test.rig.classify(1)
        await test.gate.wait()
        await test.rig.classify(1, 2, 3)
        await test.counted(skipped=2)
        test.gate.open()
        await test.counted(agrees=2, skipped=2)
        await test.rig.classify(1)  # what has run takes no room any more
        await test.counted(agrees=3, skipped=2)


@pytest.mark.parametrize("kind", [FakeBackend, NotANumber])
async def test_an_image_that_fails_costs_only_itself(tiny: Path, kind: type[FakeBackend]) -> None:
    poison = Gate.POISON if kind is FakeBackend else 1
    async with Shadowed(Rig(tiny), kind).running() as test:
        # The gate of the model lets it pass, because the shadow's alone is asked.
        test.rig.gate.POISON = -1  # type: ignore[misc]
        await test.rig.classify(poison)
        await test.counted(failed=1)
        assert test.differences("count") == 0


async def test_an_image_of_another_size_fails(tiny: Path) -> None:
    """Pixels as the network sees them: another version may see other ones."""
    async with Shadowed(Rig(tiny)).running() as test:
        samples = bytes(SIDE * SIDE * 3)
        crop = test.shadow._bundle.manifest.transform.crop
        object.__setattr__(crop, "height", SIDE + 1)
        await test.rig.model.classify([Ready(samples)], test.rig.model.clock() + 30)
        await test.counted(failed=1)


@pytest.mark.parametrize("error", [DeviceLostError, ProcessLostError])
async def test_a_lost_device_ends_it(
    tiny: Path, error: type[DeviceLostError], caplog: pytest.LogCaptureFixture
) -> None:
    async with Shadowed(Rig(tiny)).running() as test:

        def fail(_: Pixels) -> None:
            raise error("gone")

        test.backend.before_run = fail
        await test.rig.classify(1)
        await until(lambda: not test.shadow._thread.is_alive())
        assert classes(await test.rig.classify(1)) == [1]
        await test.counted(failed=1, skipped=1)
    assert test.backend.is_closed == (error is DeviceLostError)
    assert "no image runs on tiny/1 as a shadow any more" in caplog.text


async def test_what_cannot_be_opened_is_no_shadow(
    tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    test = Shadowed(Rig(tiny))

    def fail(_: Sequence[int]) -> Backend:
        raise MemoryError

    test.shadow._open_backend = fail
    test.shadow.start()
    await until(lambda: not test.shadow._thread.is_alive())
    test.rig.gate.open()
    async with test.rig.running():
        test.rig.model.shadow = test.shadow
        await test.rig.classify(1)
        await test.counted(skipped=1)
    test.shadow.close()
    assert "no image runs on tiny/1 as a shadow" in caplog.text


async def test_closing_skips_what_waits_and_frees_the_instance(tiny: Path) -> None:
    async with Shadowed(Rig(tiny), gate=Gate()).running() as test:
        await test.rig.classify(1, 2)
        await test.gate.wait()
        closing = asyncio.ensure_future(asyncio.to_thread(test.shadow.close))
        await until(lambda: test.shadow._is_closed)
        test.gate.open()
        await closing
        assert test.backend.is_closed
        await test.counted(agrees=1, skipped=1)
        await test.rig.classify(1)
        await test.counted(agrees=1, skipped=2)


async def test_its_thread_gives_way_to_all_others(tiny: Path) -> None:
    seen: list[int] = []

    def look(_: Pixels) -> None:
        seen.append(os.getpriority(os.PRIO_PROCESS, 0))

    async with Shadowed(Rig(tiny)).running() as test:
        test.backend.before_run = look
        await test.rig.classify(1)
        await test.counted(agrees=1)
    assert seen == [19]
