"""Images that are lent to a front end, without one: what it says and does is said step by step."""

import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from serving.engine.job import ImageJob
from serving.engine.sources import Encoded
from serving.frontend.desk import Desk, Told
from serving.frontend.exchange import Exchange
from serving.frontend.link import Link
from serving.frontend.messages import PLACE, Decode, Kind
from serving.frontend.shared_model import SharedModel
from serving.frontend.slots import Memory
from tests.serving.api.messages import png
from tests.support.bundles import SIDE
from tests.support.serving import Asking, Rig

PHOTO = png(1).encoded


def ignore(*_: object) -> None:
    """Do nothing."""


class Stepped(Exchange):
    """An exchange whose thread is the test's."""

    def step(self) -> None:
        """Do what was posted."""
        self._do_posted()


class Lender:
    """A model, the desk of a front end that knows it, and that front end's end of the link."""

    def __init__(self, path: Path) -> None:
        self.rig, self.exchange = Rig(path), Stepped("test")
        ours, theirs = socket.socketpair()
        self.theirs = Link(theirs)
        self.desk = Desk(self.exchange, Link(ours), Told(ignore, ignore, ignore, ignore))
        memory, grant = Memory(2, SIDE, SIDE), partial(self.desk.grant, 1)
        self.shared = SharedModel(1, self.rig.model, memory, 1, 1, grant)
        self.desk.models = {1: self.shared}

    def ask(self) -> tuple[Asking, int]:
        """Have an image decoded; return its caller, and its number between the processes."""
        caller = Asking(self.rig.model.clock() + 30)
        self.rig.model.submit([Encoded(PHOTO)], caller, decoding=self.shared.decoding.pools)
        self.desk.settle()
        [(kind, body)] = self.theirs.receive()
        assert kind == Kind.DECODE
        return caller, Decode.read(body).call

    def close(self) -> None:
        """End all."""
        self.shared.close()
        self.theirs.close()
        self.desk.link.close()


@pytest.fixture
def lender(tiny: Path) -> Iterator[Lender]:
    """What lends, with nothing in flight at the end."""
    lender = Lender(tiny)
    yield lender
    lender.close()
    assert lender.rig.sample("inflight_images") == 0


def before(real: Callable[..., bool], first: Callable[[], None]) -> Callable[..., bool]:
    """Return what does the one before the other."""

    def both(jobs: Sequence[ImageJob]) -> bool:
        first()
        return real(jobs)

    return both


def test_slow_images_are_counted_while_a_front_end_has_them(lender: Lender) -> None:
    caller, call = lender.ask()
    assert lender.rig.sample("background_images") == 0
    lender.desk.take(Kind.SLOW, memoryview(PLACE.pack(call, 0)))
    assert lender.rig.sample("background_images") == 1
    caller.leave()
    lender.exchange.step()
    assert lender.rig.sample("background_images") == 0


def test_a_caller_that_leaves_while_its_image_changes_queues_takes_it_along(
    lender: Lender, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, call = lender.ask()
    slow = lender.shared.decoding.pools.slow.queue
    monkeypatch.setattr(slow, "put", before(slow.put, caller.leave))
    lender.desk.take(Kind.SLOW, memoryview(PLACE.pack(call, 0)))
    lender.exchange.step()
    assert len(slow) == 0
    assert lender.rig.sample("inflight_images") == 0
