"""Jobs as the engine's tests make them."""

from prometheus_client import CollectorRegistry

from images.limits import ImageLimits
from serving.engine.answers import Answers
from serving.engine.job import ImageJob, Waiter
from serving.engine.latency import Clock, WaitCorrection
from serving.engine.room import Limits, Room
from serving.errors import ServingError
from serving.metrics import Metrics, ModelMetrics
from tests.support.bundles import SIDE
from tests.support.serving import Asking, grey


def new_job(due: float, arrived: float = 0.0, pixels: int = 64) -> ImageJob:
    """Return the only job of a request that must be answered by `due`."""
    waiter = Waiter(1, arrived, Asking(due))
    waiter.due = due
    source = grey(1)
    size = source.size(ImageLimits())._replace(pixels=pixels)
    leases = Room(Limits(1, 10**9, 10**9), SIDE, SIDE).take([size], [False])
    assert leases
    return ImageJob(source, leases[0], waiter, 0)


def new_metrics(clock: Clock) -> ModelMetrics:
    """Return the metrics of a model, in a registry of their own."""
    return Metrics(CollectorRegistry()).model("tiny", "1", clock)


class Noted(Answers):
    """Answers that note the jobs that failed, too."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(new_metrics(clock), WaitCorrection(clock), clock)
        self.failed: list[ImageJob] = []

    def fail(self, jobs: list[ImageJob], error: ServingError) -> None:
        self.failed += jobs
        super().fail(jobs, error)
