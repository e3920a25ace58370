"""The time that tuning may take."""

import time
from collections.abc import Callable


class Budget:
    """Counts down from `seconds`; `clock` is monotonic time, in seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self.clock = seconds, clock
        self._end = clock() + seconds

    @property
    def left_s(self) -> float:
        """Seconds until it is used up; below 0 after that."""
        return self._end - self.clock()
