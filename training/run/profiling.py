"""A MindSpore profile of some steps of a run: the time of each operator, and a timeline."""

import logging
from pathlib import Path
from types import TracebackType
from typing import Self

from mindspore.profiler import (
    ProfilerActivity,
    profile,
    schedule,
    tensorboard_trace_handler,
)

FOLDER = "profile"
# The first step compiles, and caches fill.
WARM_UP = 3
DEVICES = {"Ascend": ProfilerActivity.NPU, "GPU": ProfilerActivity.GPU}

logger = logging.getLogger(__name__)


class StepProfile:
    """Records steps WARM_UP to WARM_UP + `steps` of this process; without `steps`, none."""

    def __init__(self, run: Path, steps: int | None, platform: str) -> None:
        self._folder, self._left = run / FOLDER, (WARM_UP + steps) if steps else 0
        self._profile: profile | None = None
        if steps:
            activities = [ProfilerActivity.CPU]
            if platform in DEVICES:
                activities.append(DEVICES[platform])
            self._folder.mkdir(exist_ok=True)
            self._profile = profile(
                activities=activities,
                schedule=schedule(wait=0, active=steps, repeat=1, skip_first=WARM_UP),
                on_trace_ready=tensorboard_trace_handler(str(self._folder)),
                start_profile=False,
            )

    def __enter__(self) -> Self:
        if self._profile:
            self._profile.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def step(self) -> None:
        """Count a step that has run; after the last one, write the profile."""
        if self._profile is None:
            return
        self._profile.step()
        self._left -= 1
        if not self._left:
            self._end()

    def _end(self) -> None:
        if self._profile is None:
            return
        self._profile.stop()
        self._profile = None
        logger.info("profile: %s", self._folder)
