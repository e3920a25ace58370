"""Jobs as the engine's tests make them."""

from serving.engine.job import Call, ImageJob
from tests.support.serving import grey


def new_job(deadline: float, arrived: float = 0.0) -> ImageJob:
    """Return the only job of a call; for a running event loop."""
    call = Call(1, arrived, deadline, lambda _: None, lambda _: False)
    source = grey(1)
    return ImageJob(source, source.size(10_000), call, 0, deadline, arrived)
