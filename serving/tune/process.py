"""A worker as a child process: started, asked with a time limit, killed with all its children.

What it is told, and what it says, is a line of JSON each.
"""

import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt

from serving.child import Child, ending


class Message(BaseModel):
    """A line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_line(self) -> str:
        """Return the line, in ASCII. Not pydantic's JSON: names of files may be no Unicode."""
        return json.dumps(self.model_dump(), default=os.fspath) + "\n"

    @classmethod
    def from_line(cls, line: str | bytes) -> Self:
        """Return what a line says."""
        return cls.model_validate(json.loads(line))


class Job(Message):
    """The first line to a worker: the bundle, settings of `ServingConfig`, files of photos."""

    model: Path
    settings: dict[str, Any]
    photos: list[Path]


class Ready(Message):
    """The first line from a worker: that it is loaded, or why it cannot be."""

    error: str | None = None


class Turn(Message):
    """Answer photos for this long, with so many in flight; then finish those."""

    seconds: PositiveFloat
    in_flight: PositiveInt


class Result(Message):
    """What a turn reached: images answered, those of them in time, and until the last answer."""

    answered: NonNegativeInt
    in_time: NonNegativeInt
    seconds: PositiveFloat
    p99_ms: float

    @property
    def goodput(self) -> float:
        """Images per second that were answered in time."""
        return self.in_time / self.seconds


Answer = TypeVar("Answer", bound=Message)


class WorkerError(Exception):
    """A worker cannot load its candidate, or has ended; the message says why."""


class TooSlowError(Exception):
    """A worker has not answered in the time that it was given."""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until a worker that is being started is known to who ends it."""
    # A signal mask would not do: libraries have threads of their own, which the signal then meets.
    came: list[int] = []
    former = signal.signal(signal.SIGINT, lambda signum, _: came.append(signum))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
        if came:
            raise KeyboardInterrupt


class Worker:
    """A running worker; as a context manager it is gone at the end.

    Should this process be killed, their input ends, and so do they.
    """

    def __init__(self, job: Job) -> None:
        pipe = subprocess.PIPE
        self._child = Child("serving.tune.worker", stdin=pipe, stdout=pipe)
        self._process = self._child.process
        self._send(job)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def loaded(self, limit_s: float) -> None:
        """Wait until the candidate is loaded.

        Raises:
            WorkerError: it cannot be loaded.
            TooSlowError: it is not in `limit_s` seconds.
        """
        if error := self._read(Ready, limit_s).error:
            raise WorkerError(error)

    def ask(self, question: Message, answer: type[Answer], limit_s: float) -> Answer:
        """Return the answer to a question; raise as `loaded` does."""
        self._send(question)
        return self._read(answer, limit_s)

    def close(self) -> None:
        """Kill it and all its children; again, it does nothing."""
        self._child.close()

    def _send(self, message: Message) -> None:
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it has ended, as the next read will find
            self._process.stdin.write(message.to_line().encode())

    def _read(self, kind: type[Answer], limit_s: float) -> Answer:
        stdout = self._process.stdout
        assert stdout
        # A worker writes each line whole, so that the rest of one never has to be waited for.
        if not select.select([stdout], [], [], max(0.0, limit_s))[0]:
            raise TooSlowError("it is not ready in time")
        if line := stdout.readline():
            return kind.from_line(line)
        raise WorkerError(self._end())

    def _end(self) -> str:
        how = f"its process {ending(code := self._process.wait())}"
        return how if code < 0 else self._child.last_words() or how
