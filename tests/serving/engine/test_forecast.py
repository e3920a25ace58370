"""What is foreseen from what is known of an image and of those before it."""

import pytest

from serving.engine.deadline_queue import NOTHING, Ahead
from serving.engine.forecast import Outlook
from serving.engine.latency import BatchLatency
from tests.support.serving import VirtualClock


def outlook(ahead: Ahead, threads: int, slip: float) -> Outlook:
    latency = BatchLatency(clock := VirtualClock())
    latency.seed(1, 1.0)
    return Outlook(clock.now, ahead, threads, [clock.now], [1], latency, slip)


@pytest.mark.parametrize("threads", [0, 2])
def test_that_images_wait_longer_than_foreseen_says_nothing_of_decoding(threads: int) -> None:
    idle = outlook(NOTHING, threads, slip=3.0)
    assert idle.foresee(decode_s=0.5).finish - idle.now == pytest.approx(1.5)


def test_what_a_device_decodes_before_is_waited_for() -> None:
    busy = outlook(Ahead(2, 0.4), 0, slip=2.0)
    foreseen = busy.foresee(decode_s=0.5)
    assert foreseen.wait_s == pytest.approx(2.0 + 0.4 + 0.5)
    assert foreseen.finish - busy.now == pytest.approx(2 * 2.4 + 0.5 + 1.0)
