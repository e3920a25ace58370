"""The choice on disk: one JSON file per bundle, machine and SLO, written whole or not at all."""

import hashlib
import os
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from bundle.kinds import Precision
from cli.cores import cpu_model, usable_cores
from serving.backends.settings import Runtime
from serving.settings.types import Bucket, Threads

# A new version of one of them may be faster with other settings.
LIBRARIES = ("onnxruntime", "openvino", "resnext-serving")


def _rise(buckets: tuple[int, ...]) -> tuple[int, ...]:
    if list(buckets) != sorted(set(buckets)):
        raise ValueError(f"{list(buckets)} must ascend")
    return buckets


class Stated(BaseModel):
    """A part of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Key(Stated):
    """What a choice holds for."""

    digest: str
    cpu: str
    cores: str
    slo_ms: int | None
    versions: dict[str, str]

    @classmethod
    def here(cls, digest: str, slo_ms: int | None) -> "Key":
        """Return the key of a bundle on this machine."""
        return cls(
            digest=digest,
            cpu=cpu_model(),
            cores=str(usable_cores()),
            slo_ms=slo_ms,
            versions={name: found for name in LIBRARIES if (found := _version(name))},
        )

    def file(self, cache_dir: Path) -> Path:
        """Return where the choice is kept; the versions do not count, so that an old one shows."""
        place = f"{self.cpu}\n{self.cores}\n{self.slo_ms}".encode()
        name = f"{self.digest.rpartition(':')[2][:16]}-{hashlib.sha256(place).hexdigest()[:8]}"
        return cache_dir / "tune" / f"{name}.json"


class Settings(Stated):
    """The settings that were found, by their names in `ServingConfig`."""

    runtime: Runtime
    precision: Precision
    instances: Threads
    threads: Threads
    buckets: Annotated[tuple[Bucket, ...], AfterValidator(_rise), Field(min_length=1)]


class Choice(Stated):
    """The file: what to set (null: the defaults are best), and how much faster that was."""

    key: Key
    settings: Settings | None
    times_defaults: float | None
    noise: float | None
    measured: datetime


def write(choice: Choice, cache_dir: Path) -> Path:
    """Write the file of a choice and return its path; raise `OSError`."""
    path = choice.key.file(cache_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False) as new:
        try:
            new.write(choice.model_dump_json(indent=2) + "\n")
            new.flush()
            os.fchmod(new.fileno(), 0o644)  # a server may run as another user
            os.fsync(new.fileno())
            Path(new.name).replace(path)
        except BaseException:
            Path(new.name).unlink()
            raise
    return path


def check_writable(cache_dir: Path) -> None:
    """Raise `OSError` if no choice can be kept there."""
    folder = cache_dir / "tune"
    folder.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=folder):
        pass


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
