"""What counts as answered in time, and what ended jobs give back."""

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from images.limits import ImageLimits
from serving.engine.answers import Answers
from serving.engine.job import BatchRun, ImageJob, Prediction, Waiter
from serving.engine.latency import WaitCorrection
from serving.engine.room import Limits, Room
from serving.metrics import Metrics
from tests.support.bundles import SIDE
from tests.support.serving import Asking, VirtualClock, grey


@pytest.mark.parametrize(("now", "goodput"), [(197.0, 1.0), (199.0, 1.0), (201.0, 0.0)])
def test_the_callers_deadline_counts_and_not_the_one_that_was_planned(
    now: float, goodput: float
) -> None:
    clock, registry, room = VirtualClock(), CollectorRegistry(), Room(Limits(1, 64, 64), SIDE, SIDE)
    waiter = Waiter(1, 100.0, caller := Asking(200.0))
    source = grey(1)
    [lease] = room.take([source.size(ImageLimits())], [False]) or []
    job = ImageJob(source, lease, waiter, 0)
    assert job.due == 198.0
    answers = Answers(Metrics(registry).model("tiny", "1", clock), WaitCorrection(clock), clock)
    clock.now = now
    row = np.ones((1, 1), np.float32)
    answers.deliver([job], BatchRun(row, 150.0, now, 1, 1.0, False, "full"))
    labels = {"model": "tiny", "version": "1"}
    assert registry.get_sample_value("serving_goodput_images_total", labels) == goodput
    assert caller.answers
    assert isinstance(caller.answers[0], Prediction)
    assert room.taken == (0, 0, 0)
