"""Ascend NPUs: how many of them this process may use, counted as CANN counts them.

Source: "ASCEND_RT_VISIBLE_DEVICES" in the environment variables of CANN 8.0 to 9.1, and the tests
of its runtime, which say what an empty value and a repeated ID mean.
"""

import os
import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

DEVICES = Path("/dev")
VISIBLE = "ASCEND_RT_VISIBLE_DEVICES"
IDS = re.compile(r"\d+(,\d+)*")


def count_npus() -> int:
    """Return how many NPUs CANN shows to this process; it counts them from 0."""
    there = _there()
    if (value := os.environ.get(VISIBLE)) is None:
        return there
    ids = list(_visible(value, there))
    return len(ids) if len({*ids}) == len(ids) else 0


def missing_npu(ordinal: int) -> str | None:
    """Return why there is no NPU of that index; None if there is one."""
    if ordinal < (npus := count_npus()):
        return None
    there = f"{_there()} in {DEVICES} (davinci<number>)"
    if VISIBLE in os.environ:
        there += f", of which {VISIBLE}={os.environ[VISIBLE]} leaves {npus}"
    return f"no NPU {ordinal}: there are {there}, counted from 0"


def _there() -> int:
    """Count device files and ignore their numbers: CANN calls a container's only davinci5 0."""
    return len(list(DEVICES.glob("davinci[0-9]*")))


def _visible(value: str, there: int) -> Iterator[int]:
    """Yield what CANN reads: the IDs in front of the first that is no device's, or no number."""
    listed = IDS.match(value)
    ids = map(int, listed[0].split(",")) if listed else iter(())
    return takewhile(lambda number: number < there, ids)
