"""Threads that decode and augment; what they make does not depend on how many they are."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from training.settings.config import CommonConfig

Indices = NDArray[np.intp]
T = TypeVar("T")


class Workers:
    """As many threads as `num_workers` says, else one per core of this process."""

    def __init__(self, config: CommonConfig) -> None:
        self._count = config.num_workers or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self._count, "images")

    def map(self, function: Callable[[int], T], indices: Indices) -> list[T]:
        """Return what the function makes of each index, in order; raise what it raises."""

        def run(part: Indices) -> list[T]:
            return [function(int(index)) for index in part]

        return list(chain.from_iterable(self._pool.map(run, np.array_split(indices, self._count))))
