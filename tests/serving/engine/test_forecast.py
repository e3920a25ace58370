"""What is predicted from what is known of an image and of those before it."""

import pytest

from serving.engine.forecast import Backlog
from serving.engine.latency import BatchLatency
from serving.engine.queue import NOTHING_AHEAD, Ahead
from tests.support.serving import VirtualClock


def backlog(ahead: Ahead, correction: float) -> Backlog:
    latency = BatchLatency(clock := VirtualClock())
    latency.seed(1, 1.0)
    return Backlog(clock.now, ahead, 2, [clock.now], [1], latency, correction)


def test_that_images_wait_longer_than_predicted_says_nothing_of_decoding() -> None:
    idle = backlog(NOTHING_AHEAD, correction=3.0)
    assert idle.estimate(decode_s=0.5).finish - idle.now == pytest.approx(1.5)


def test_waits_are_corrected_and_decoding_goes_on_meanwhile() -> None:
    busy = backlog(Ahead(2, 0.4), correction=2.0)
    estimate = busy.estimate(decode_s=0.5)
    assert estimate.wait_s == pytest.approx(2.0)
    assert estimate.finish - busy.now == pytest.approx(2 * 2.0 + 1.0)


def test_the_worked_example() -> None:
    latency = BatchLatency(clock := VirtualClock())
    for size in (1, 2, 4):
        latency.seed(size, 0.03)
    free = [clock.now, clock.now + 0.01]
    thirteen = Backlog(clock.now, Ahead(13, 0.0), 2, free, [1, 2, 4], latency, 1.0)
    estimate = thirteen.estimate()
    assert estimate.wait_s == pytest.approx(0.04)
    assert estimate.finish - clock.now == pytest.approx(0.07)
