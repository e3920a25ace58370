"""What a simulation of `benchmarks.scaling` starts from, and where each number is from."""

from math import sqrt
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt

from benchmarks.frontends import FrontEndRecord
from benchmarks.records import Record
from cli.program import UsageError

R = TypeVar("R", bound=Record)
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PHOTO, WORK, DECODER = "500 x 375", "shorter side 256, antialias", "Transform.decode"


class Cost(BaseModel):
    """CPU time per image."""

    ms: Milliseconds
    source: str = Field(description="the record and its revision, or the flag")


class Costs(BaseModel):
    """What an image costs each process."""

    alone: Cost = Field(description="the engine process without front ends, beside decoding")
    engine: Cost = Field(description="the engine process with front ends")
    frontend: Cost = Field(description="a front end, beside decoding")
    decode: Cost = Field(description="to decode, wherever that is")
    locked: Cost = Field(description="of `decode`, what holds Python's lock")


class DeviceCurve(BaseModel):
    """A device, by the time of its batches: linear in the images, and never nothing."""

    images_per_second: PositiveFloat = Field(description="in full batches")
    batch: PositiveInt = Field(description="images in a full batch")
    fixed_ms: Milliseconds = Field(description="of each batch, whatever its size")

    def batch_s(self, images: int) -> float:
        """Return how long a batch takes, in seconds."""
        fixed_s = self.fixed_ms / 1e3
        return fixed_s + (self.batch / self.images_per_second - fixed_s) * images / self.batch


def read(kind: type[R], path: Path, module: str) -> R:
    """Read a record; raise UsageError, which says what writes it."""
    try:
        return kind.model_validate_json(path.read_text())
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}; python -m {module} writes it"
        ) from error
    except ValueError as error:
        raise UsageError(f"{path} is no record of this python -m {module}") from error


def server_costs(record: FrontEndRecord, path: Path) -> dict[str, Cost]:
    """Return `alone`, `engine` and `frontend` of requests of one image; the dearest run counts."""
    single = [cost for cost in record.costs if cost.images_per_request == 1]
    alone = [cost.engine_ms for cost in single if not cost.frontends]
    behind = [cost for cost in single if cost.frontends]
    if not alone or not behind:
        raise UsageError(f"{path} needs requests of one image, with front ends and without")
    source = _source(record, path)
    return {
        "alone": Cost(ms=max(alone), source=source),
        "engine": Cost(ms=max(cost.engine_ms for cost in behind), source=source),
        "frontend": Cost(ms=max(cost.frontend_ms for cost in behind), source=source),
    }


def decode_costs(path: Path) -> dict[str, Cost]:
    """Return `decode` and `locked` of a photo.

    Two threads that decode as fast as they can do less than twice the work of one. All of what is
    missing is taken for Python's lock, though some of it may be the memory's. With a share p of the
    work under a lock, two threads do 2 / (1 + p^2) times that of one (mean value analysis).
    """
    from benchmarks.decoders import DecoderRecord  # imports the decoders, too

    record = read(DecoderRecord, path, "benchmarks.decoders")
    rows = [
        row for row in record.rows if (row.photo, row.work, row.decoder) == (PHOTO, WORK, DECODER)
    ]
    if not rows:
        raise UsageError(f"{path} has no row for {PHOTO}, {WORK}, {DECODER}")
    source, row = _source(record, path), rows[0]
    share = min(1.0, sqrt(max(0.0, 2 / row.two_threads - 1)))
    return {
        "decode": Cost(ms=row.median_ms, source=source),
        "locked": Cost(ms=share * row.median_ms, source=f"{source}: two threads of one process"),
    }


def _source(record: Record, path: Path) -> str:
    return f"{path.name}, revision {record.revision[:7]}, {record.machine.cpu}"
