"""The folder of the rows: what a run writes there, and what tells another one how to go on.

    _manifest.json       what the run was asked for; a run that goes on must be asked for the same
    _plan.parquet        the images, in shards
    _lock                held by the process that writes
    part-000000.parquet  the rows of a shard; whole, since it is written beside and renamed

Readers of Parquet folders leave out what begins with an underscore or a dot.
"""

import fcntl
import json
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cli.text import printable
from deploy.batch.errors import DatasetError
from deploy.batch.plan import Plan

# How often a shard is begun.
ATTEMPTS = 5
MANIFEST, PLAN, LOCK = "_manifest.json", "_plan.parquet", "_lock"
PART = re.compile(r"part-(\d{6,})\.parquet")
# Of a file that is not whole yet; several processes may write the same one.
UNFINISHED = re.compile(r"\._.*\.tmp")


class Target:
    """The folder `path`; any thread and process may write parts."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder if there is none, and keep other runs out of it.

        Raises:
            DatasetError: it cannot be written, is another run's at the moment, or holds what no run
                of this program has written.
        """
        with writable(self.path):
            self._check_ours()
            self.path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DatasetError(f"TARGET {self.path}: another run is writing it now") from None
            self._remove_unfinished()
            yield
        finally:
            os.close(lock)

    @property
    def manifest(self) -> dict[str, Any] | None:
        """What the run was asked for; None if none has begun."""
        try:
            return dict(json.loads((self.path / MANIFEST).read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise DatasetError(f"{self.path / MANIFEST} is damaged: {error}") from error

    @property
    def plan(self) -> Plan:
        """The plan of a run that has begun."""
        try:
            return Plan(self.path / PLAN)
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"{self.path / PLAN} is damaged or missing: {error}") from error

    def begin(self, manifest: Mapping[str, Any], write_plan: Callable[[Path], int]) -> None:
        """Keep the plan, then what the run was asked for: with that it has begun."""
        self._write(PLAN, write_plan)
        text = json.dumps(manifest, indent=2) + "\n"
        self._write(MANIFEST, lambda path: path.write_text(text))

    def done(self) -> set[int]:
        """Return the shards whose rows are written."""
        matches = map(PART.fullmatch, _names(self.path))
        return {int(match[1]) for match in matches if match}

    def part(self, shard: int) -> Path:
        """Return the file of a shard's rows."""
        return self.path / f"part-{shard:06d}.parquet"

    def write(self, shard: int, rows: pa.Table) -> None:
        """Write the rows of a shard, all or nothing; raise `DatasetError`."""
        name = self.part(shard).name
        self._write(name, lambda path: pq.write_table(rows, path, compression="zstd"))

    @contextmanager
    def attempt(self, shard: int) -> Iterator[None]:
        """Leave a mark in the block; raise `DatasetError` once `ATTEMPTS` did not come to its end.

        An image that kills every process which decodes it must not go round for ever.
        """
        mark = self._mark(shard)
        try:
            yield
        finally:
            mark.unlink(missing_ok=True)

    def _mark(self, shard: int) -> Path:
        part = self.part(shard)
        with writable(self.path):
            for number in range(ATTEMPTS):
                mark = part.with_name(f"._{part.name}.attempt-{number}.tmp")
                try:
                    mark.touch(exist_ok=False)
                except FileExistsError:
                    continue
                return mark
        raise DatasetError(
            f"{ATTEMPTS} workers died while they worked on {part}, or on what they did beside it: "
            f"the logs of the cluster may say why"
        )

    def _write(self, name: str, write: Callable[[Path], object]) -> None:
        """Write a file beside its place, have it on the disk, and rename it."""
        unfinished = (
            self.path / f"._{name}.{os.uname().nodename}.{os.getpid()}.{threading.get_ident()}.tmp"
        )
        with writable(self.path):
            try:
                write(unfinished)
                _sync(unfinished)
                unfinished.rename(self.path / name)
                _sync(self.path)
            except BaseException:
                unfinished.unlink(missing_ok=True)
                raise

    def _check_ours(self) -> None:
        """Raise `DatasetError` if files would be mixed with what somebody else has there."""
        if self.path.exists() and not self.path.is_dir():
            raise DatasetError(f"TARGET {self.path} is a file; name a folder")
        held = _names(self.path) if self.path.exists() else []
        if MANIFEST in held:
            return
        strange = [name for name in held if name not in (LOCK, PLAN) and not UNFINISHED.match(name)]
        if strange:
            raise DatasetError(
                f"TARGET {self.path} is not empty, and not of a run of this program (it holds "
                f"{printable(min(strange))}); name a new folder"
            )

    def _remove_unfinished(self) -> None:
        for name in _names(self.path):
            if UNFINISHED.fullmatch(name):
                (self.path / name).unlink(missing_ok=True)


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Raise `DatasetError` if the target cannot be written in the block."""
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise DatasetError(
            f"TARGET {path} cannot be written: {why}; what is written stays, and the same command "
            f"goes on from there"
        ) from error


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
