"""Arrivals, cancels, expiries, failures, lost and overdue devices, front ends, in any order."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from prometheus_client import CollectorRegistry

from bundle.store import Bundle
from images.limits import ImageLimits
from images.transform import Pixels
from serving.backends.backend import Backend, Instance
from serving.engine import device as device_module
from serving.engine.build import build
from serving.engine.job import Answer, Prediction
from serving.engine.room import Limits
from serving.errors import (
    DeadlineExceededError,
    DeviceLostError,
    InternalError,
    InvalidImageError,
    OutOfDeviceMemoryError,
    OverloadedError,
    UnavailableError,
)
from serving.metrics import OUTCOMES, Metrics
from tests.serving.engine.front import Front, Outcome, Request
from tests.support.bundles import BUCKETS, SIDE
from tests.support.fake_backend import FakeBackend
from tests.support.serving import VirtualClock, VirtualLoop, grey

IMAGES, SLOTS, CLASSES = 240, 12, 251
Meanwhile = Callable[[], None]


class Machine(RuleBasedStateMachine):
    """One model on two devices, none of whose threads runs: the rules take every step."""

    bundle: Bundle
    decode_threads: int

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.loop = VirtualLoop(self.clock)
        self.registry = CollectorRegistry()
        self.failures = 0
        self.model = build(
            self.bundle,
            [Instance(self.backend(), self.reopen) for _ in range(2)],
            buckets=BUCKETS,
            decode_threads=self.decode_threads,
            background_threads=1,
            limits=Limits(SLOTS, 10_000, 10_000),
            image_limits=ImageLimits(max_image_pixels=1_000),
            metrics=Metrics(self.registry),
            overdue_s=1.0,
            clock=self.clock,
        )
        self.loop.call_soon(self.model.attach)
        self.loop.turn()
        self.fronts: list[Front] = []
        self.dead: list[Front] = []
        self.broken: set[int] = set()
        self.calls: list[tuple[range, asyncio.Task[list[Answer]]]] = []
        self.images = 0
        self.error: Exception | None = None
        self.fits = IMAGES
        self.poison: set[int] = set()
        self.meanwhile: list[Meanwhile] = []
        self.failed: set[int] = set()

    def backend(self) -> Backend:
        return FakeBackend(CLASSES, SIDE, self.run)

    def reopen(self, buckets: Sequence[int]) -> Backend:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("still away")
        return self.backend()

    def run(self, pixels: Pixels) -> None:
        """What happens while a batch runs, and how it ends."""
        images = set(pixels[:, 0, 0, 0].tolist())
        if images == {0}:
            return  # a warm-up
        while self.meanwhile:
            self.meanwhile.pop()()
        error, self.error = self.error, None
        if len(images) > self.fits:
            error = OutOfDeviceMemoryError("too large")
        elif images & self.poison:
            error = ValueError("poison")
        if error:
            self.failed |= images
            raise error

    @precondition(lambda self: self.images < IMAGES - 8)
    @rule(images=st.integers(1, 8), timeout_s=st.floats(0.01, 5), poisoned=st.integers(0, 20))
    def arrive(self, images: int, timeout_s: float, poisoned: int) -> None:
        values = range(self.images + 1, self.images + 1 + images)
        self.images += images
        if poisoned < images:
            self.poison.add(values[poisoned])
        request = self.model.classify([grey(v) for v in values], self.clock.now + timeout_s)
        self.calls.append((values, self.loop.create_task(request)))
        self.loop.turn()

    @precondition(lambda self: len(self.fronts) < 2)
    @rule()
    def start_front_end(self) -> None:
        self.fronts.append(Front(self.model, SLOTS))

    @precondition(lambda self: self.fronts and self.images < IMAGES - 8)
    @rule(
        which=st.integers(0),
        images=st.integers(1, 8),
        timeout_s=st.floats(0.01, 5),
        decoded=st.booleans(),
    )
    def ask(self, which: int, images: int, timeout_s: float, *, decoded: bool) -> None:
        values = range(self.images + 1, self.images + 1 + images)
        self.images += images
        request = Request(self.clock.now + timeout_s, values)
        self.fronts[which % len(self.fronts)].ask(request, decoded=decoded)
        self.loop.turn()

    @precondition(lambda self: any(front.granted for front in self.fronts))
    @rule(
        which=st.integers(0),
        image=st.integers(0),
        outcome=st.sampled_from(["decoded", "decoded", "broken", "dropped", "slow"]),
    )
    def decode_in_front_end(self, which: int, image: int, outcome: Outcome) -> None:
        busy = [front for front in self.fronts if front.granted]
        front = busy[which % len(busy)]
        if outcome == "broken":
            self.broken.add(front.granted[image % len(front.granted)][1])
        front.decode(image, outcome)
        self.loop.turn()

    @precondition(lambda self: any(front.requests for front in self.fronts))
    @rule(which=st.integers(0), request=st.integers(0), at_once=st.booleans())
    def leave_front_end(self, which: int, request: int, *, at_once: bool) -> None:
        used = [front for front in self.fronts if front.requests]
        front = used[which % len(used)]
        leave = partial(front.leave, front.requests[request % len(front.requests)])
        if at_once:
            leave()
        else:
            self.meanwhile.append(leave)

    @precondition(lambda self: self.fronts)
    @rule(which=st.integers(0), at_once=st.booleans())
    def kill_front_end(self, which: int, *, at_once: bool) -> None:
        self.dead.append(front := self.fronts.pop(which % len(self.fronts)))
        if at_once:
            front.die()
        else:
            self.meanwhile.append(front.die)

    @precondition(lambda self: self.calls)
    @rule(which=st.integers(0), at_once=st.booleans())
    def cancel(self, which: int, at_once: bool) -> None:
        task = self.calls[which % len(self.calls)][1]
        if at_once:
            task.cancel()
            self.loop.turn()
        else:
            self.meanwhile.append(task.cancel)

    @rule(seconds=st.floats(0.001, 3), at_once=st.booleans())
    def pass_time(self, seconds: float, at_once: bool) -> None:
        def passing() -> None:
            self.clock.now += seconds

        if at_once:
            passing()
            self.loop.turn()
        else:
            self.meanwhile.append(passing)

    @rule(
        error=st.sampled_from([ValueError("bad"), DeviceLostError("dead")]), away=st.integers(0, 2)
    )
    def break_next(self, error: Exception, away: int) -> None:
        self.error, self.failures = error, away

    @rule(fits=st.sampled_from([1, 2, 4, IMAGES]))
    def shrink_memory(self, fits: int) -> None:
        self.fits = fits

    @rule(at_once=st.booleans())
    def look(self, at_once: bool) -> None:
        if at_once:
            self.model.watch.look()
            self.loop.turn()
        else:
            self.meanwhile.append(self.model.watch.look)

    @precondition(lambda self: len(self.model.decoders.queue))
    @rule(images=st.integers(1, 8))
    def decode(self, images: int) -> None:
        for _ in range(min(images, len(self.model.decoders.queue))):
            assert self.model.decoders.step(self.model.decoders.workers[0])
        self.loop.turn()

    @precondition(lambda self: len(self.model.batcher.queue))
    @rule(which=st.integers(0, 1))
    def infer(self, which: int) -> None:
        if batch := self.model.batcher.poll():
            self.model.devices[which].run(batch)
        self.loop.turn()

    def teardown(self) -> None:
        for later in self.meanwhile:
            later()
        for front in self.fronts:
            for _ in range(2 * len(front.granted)):
                if front.granted:
                    front.decode(0, "dropped")
        self.model.close()
        self.loop.turn()
        for front in self.fronts + self.dead:
            self._check_front(front)
        for values, task in self.calls:
            assert task.done()
            for value, answer in self._ends(values, task):
                self._check(value, answer)
        self._check_all_is_given_back()
        self.loop.close()

    def _check_front(self, front: Front) -> None:
        """Each request has ended, and the engine has given back every slot."""
        for request in front.requests:
            if request.answers is not None:
                for value, answer in zip(request.values, request.answers, strict=True):
                    if isinstance(answer, InvalidImageError):
                        assert value in self.broken
                    else:
                        self._check(value, answer)
            else:
                assert request.refusal or request.has_left
        assert not front.held

    def _ends(
        self, values: range, task: asyncio.Task[list[Answer]]
    ) -> Iterator[tuple[int, Answer]]:
        refused = (OverloadedError, DeadlineExceededError, UnavailableError)
        if not task.cancelled() and not isinstance(task.exception(), refused):
            yield from zip(values, task.result(), strict=True)

    def _check(self, value: int, answer: Answer) -> None:
        """Nobody gets another's answer, and no error but one's own batch's or the end's."""
        if isinstance(answer, Prediction):
            assert answer.probabilities.argmax() == value
            assert value not in self.poison
        elif isinstance(answer, InternalError | DeviceLostError):
            assert value in self.failed
        else:
            # Overload: it gave way to images that are due much earlier.
            late = DeadlineExceededError | UnavailableError | OverloadedError
            assert isinstance(answer, late)

    def _check_all_is_given_back(self) -> None:
        assert sum(self._sample("images_total", outcome=o) for o in OUTCOMES) == self.images
        for gauge in ("inflight_images", "inflight_bytes", "queue_images"):
            assert self._sample(gauge) == 0
        assert len(self.model.decoders.queue) == 0

    def _sample(self, name: str, **labels: str) -> float:
        bound = {"model": "tiny", "version": "1", **labels}
        return self.registry.get_sample_value(f"serving_{name}", bound) or 0.0


@pytest.mark.parametrize("decode_threads", [1, 0])
@pytest.mark.parametrize("steps", [20, 60])
def test_every_image_ends_once(
    tiny: Path, steps: int, decode_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_module, "FIRST_PAUSE_S", 0.0)
    given = {"bundle": Bundle.open(tiny), "decode_threads": decode_threads}
    machine = type("Bound", (Machine,), given)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[*HealthCheck],
        ),
    )
