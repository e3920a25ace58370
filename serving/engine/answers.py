"""How images end: told to their callers and counted, once each."""

from collections.abc import Callable, Sequence
from functools import partial

from serving.engine.job import Call, ImageJob, Prediction
from serving.engine.latency import Clock, Slip
from serving.engine.runner import BatchRun
from serving.errors import DeadlineExceededError, ServingError
from serving.metrics import ModelMetrics

# A client whose deadline passes sends a cancel. It comes before the deadline that is known here,
# which began later by the request's way and which gRPC rounds up by as much as 1 %.
EARLY_S = 0.01
EARLY_SHARE = 0.01


class Answers:
    """The devices' sink, whose work is done where callers are told; any thread may call.

    Args:
        metrics: where to count.
        release: takes back what the jobs held.
        slip: learns how long jobs waited.
        clock: monotonic time, in seconds.
    """

    def __init__(
        self,
        metrics: ModelMetrics,
        release: Callable[[list[ImageJob]], None],
        slip: Slip,
        clock: Clock,
    ) -> None:
        self._metrics, self._release, self._slip, self.clock = metrics, release, slip, clock

    def deliver(self, jobs: list[ImageJob], run: BatchRun) -> None:
        """Answer a batch."""
        _hand_over(jobs, partial(self._resolve, jobs, run))

    def fail(self, jobs: list[ImageJob], error: ServingError) -> None:
        """Fail jobs that are still waited for, and take back what they hold."""
        _hand_over(jobs, partial(self._reject, jobs, _freed(error)))

    def drop(self, jobs: list[ImageJob]) -> None:
        """Let go of jobs that are cancelled, expired or too late."""
        self.fail(jobs, expired())

    def tell(self, jobs: list[ImageJob], error: ServingError) -> None:
        """Fail jobs that hold nothing any more."""
        _hand_over(jobs, partial(self._tell, jobs, _freed(error)))

    def expire(self, call: Call) -> None:
        """End a call at its deadline."""
        call.end(self._metrics.images["expired"].inc)

    def leave(self, call: Call) -> None:
        """Count the images of a call whose caller left before they were answered."""
        early = EARLY_S + EARLY_SHARE * (call.deadline - call.arrived)
        is_early = self.clock() < call.deadline - early
        self._metrics.images["cancelled" if is_early else "expired"].inc(call.leave())

    def _reject(self, jobs: list[ImageJob], error: ServingError) -> None:
        self._release(jobs)
        self._tell(jobs, error)

    def _tell(self, jobs: list[ImageJob], error: ServingError) -> None:
        now = self.clock()
        # Those that expired waited at least so long; whom a caller left early teaches nothing.
        self._slip.observe((job.wait_s, now - job.arrived) for job in jobs if now >= job.deadline)
        failed = sum(job.call.keep(job.index, error) for job in jobs)
        self._metrics.images[error.outcome].inc(failed)
        for job in jobs:
            job.call.settle()

    def _resolve(self, jobs: list[ImageJob], run: BatchRun) -> None:
        self._release(jobs)
        self._slip.observe((job.wait_s, run.started - job.arrived) for job in jobs)
        now, answered, in_time = self.clock(), 0, 0
        for job, row in zip(jobs, run.probabilities, strict=True):
            timing = job.timing(run.started, run.finished, len(jobs))
            if job.call.keep(job.index, Prediction(row, timing)):
                answered += 1
                in_time += now < job.call.deadline
                for stage, histogram in self._metrics.stages.items():
                    histogram.observe(getattr(timing, stage))
        self._metrics.images["ok"].inc(answered)
        self._metrics.answered.add(answered)
        self._metrics.goodput_images.inc(in_time)
        self._metrics.wasted_images.inc(len(jobs) - answered)
        self._count_batch(run, len(jobs))
        for job in jobs:  # who asks for the metrics after an answer finds it counted
            job.call.settle()

    def _count_batch(self, run: BatchRun, images: int) -> None:
        self._metrics.batches[run.reason].inc()
        self._metrics.batch_images.observe(images)
        self._metrics.padded_slots.inc(run.bucket - images)
        self._metrics.cold_batches.inc(run.is_cold)
        actual = run.finished - run.started
        if actual and run.predicted:
            self._metrics.prediction_error.observe(abs(run.predicted - actual) / actual)


def _hand_over(jobs: Sequence[ImageJob], work: Callable[[], None]) -> None:
    """Have the work done where one of the callers is told; here, where none is left."""
    if not any(job.call.post(work) for job in jobs):
        work()


def _freed(error: ServingError) -> ServingError:
    """Return an error without the frames that hold the jobs that will hold it."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


def expired() -> DeadlineExceededError:
    """Return the error of an image that was not answered in time."""
    return DeadlineExceededError("the deadline passed before the image was classified")
