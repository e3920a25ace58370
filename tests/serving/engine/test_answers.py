"""What counts as answered in time."""

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from serving.engine.answers import Answers
from serving.engine.job import Call, ImageJob
from serving.engine.latency import Slip
from serving.engine.runner import BatchRun
from serving.metrics import Metrics
from tests.support.serving import VirtualClock, grey


@pytest.mark.parametrize(("now", "goodput"), [(197.0, 1.0), (199.0, 1.0), (201.0, 0.0)])
async def test_the_callers_deadline_counts_and_not_the_one_that_was_planned(
    now: float, goodput: float
) -> None:
    clock, registry = VirtualClock(), CollectorRegistry()
    call = Call(1, 100.0, 200.0, lambda _: None, lambda _: False)
    source = grey(1)
    job = ImageJob(source, source.size(100), call, 0, call.due, call.arrived)
    assert job.deadline == 198.0
    metrics = Metrics(registry).model("tiny", "1")
    answers = Answers(metrics, lambda _: None, Slip(clock), clock)
    clock.now = now
    row = np.ones((1, 1), np.float32)
    answers._resolve([job], BatchRun(row, 150.0, now, 1, 1.0, False, "full"))
    labels = {"model": "tiny", "version": "1"}
    assert registry.get_sample_value("serving_goodput_images_total", labels) == goodput
