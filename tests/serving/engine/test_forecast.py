"""What is predicted from what is known of an image and of those before it."""

import pytest

from serving.engine.forecast import Backlog
from serving.engine.latency import BatchLatency
from serving.engine.queue import NOTHING_AHEAD, Ahead
from tests.support.serving import VirtualClock


def backlog(ahead: Ahead, threads: int, correction: float) -> Backlog:
    latency = BatchLatency(clock := VirtualClock())
    latency.seed(1, 1.0)
    free = [clock.now]
    return Backlog(clock.now, ahead, NOTHING_AHEAD, threads, 1, free, [1], latency, correction)


@pytest.mark.parametrize("threads", [0, 2])
def test_that_images_wait_longer_than_predicted_says_nothing_of_decoding(threads: int) -> None:
    idle = backlog(NOTHING_AHEAD, threads, correction=3.0)
    assert idle.estimate(decode_s=0.5).finish - idle.now == pytest.approx(1.5)


def test_what_a_device_decodes_before_is_waited_for() -> None:
    busy = backlog(Ahead(2, 0.4), 0, correction=2.0)
    estimate = busy.estimate(decode_s=0.5)
    assert estimate.wait_s == pytest.approx(2.0 + 0.4 + 0.5)
    assert estimate.finish - busy.now == pytest.approx(2 * 2.4 + 0.5 + 1.0)
