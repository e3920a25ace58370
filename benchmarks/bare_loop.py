"""The bare loop as a process that waits between its turns."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from benchmarks.floor import Floor, Turn


class BareLoop:
    """Takes turns through the pipes of `python -m benchmarks.floor`."""

    def __init__(self, turns: IO[str], floors: IO[str]) -> None:
        self._turns, self._floors = turns, floors

    def measure(self, bucket: int, seconds: float, instances: int | None = None) -> Floor:
        """Run batches of one size for so long, on all instances or so many."""
        turn = Turn(bucket=bucket, seconds=seconds, instances=instances)
        print(turn.model_dump_json(), file=self._turns, flush=True)
        return Floor.model_validate_json(self._floors.readline())


@contextmanager
def bare_loop(model: Path, images: str) -> Iterator[BareLoop]:
    """Start the process; it ends with the context."""
    command = [sys.executable, "-m", "benchmarks.floor", "--model", str(model), "--images", images]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:  # noqa: S603
        yield BareLoop(cast("IO[str]", process.stdin), cast("IO[str]", process.stdout))
