"""What a worker is told and what it says: a line of JSON each."""

import json
import os
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt

from serving.tune.candidate import Candidate


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

    @classmethod
    def of(cls, candidate: Candidate, model: Path, photos: list[Path], **more: object) -> Self:
        """Return the job of a candidate; `more` are further settings."""
        return cls(model=model, settings=candidate._asdict() | more, photos=photos)


class Ready(Message):
    """The first line from a worker: how long it took to load, or why it cannot."""

    load_s: float
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
    p50_ms: float
    p99_ms: float

    @property
    def goodput(self) -> float:
        """Images per second that were answered in time."""
        return self.in_time / self.seconds
