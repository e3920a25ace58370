"""A bundle on its way to the disk: it appears whole or not at all."""

import re
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from pydantic import BaseModel

from bundle.kinds import NAME
from export.errors import ExportError


def bundle_name(architecture: str) -> str:
    """Return a bundle's name for a model without one: its own, of letters that a bundle may have.

    Raises:
        ExportError: none of them are.
    """
    if re.fullmatch(NAME, architecture):
        return architecture
    letters = unicodedata.normalize("NFKD", architecture).encode("ascii", "ignore").decode()
    if name := re.sub("[^A-Za-z0-9._-]+", "_", letters).strip("._-"):
        return name
    raise ExportError(f"{architecture!r} cannot be the name of a bundle; give it one: --name")


def next_version(bundles: Path) -> str:
    """Return the number after the highest version in that directory, "1" if there is none."""
    taken = [int(path.name) for path in bundles.glob("*") if path.name.isdecimal()]
    return str(max(taken, default=0) + 1)


def write_json(path: Path, content: BaseModel) -> None:
    """Write one of a bundle's JSON files."""
    path.write_text(content.model_dump_json(indent=2) + "\n")


@contextmanager
def staged(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a directory that becomes `target` if the block succeeds, and vanishes otherwise.

    Every user may read the result. Raises `ExportError` if `target` exists already, or cannot be
    written.
    """
    if not overwrite:
        _must_be_free(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        directory = Path(mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise ExportError(f"cannot write {target}: {error.strerror}; see --output") from error
    try:
        yield directory
        _make_readable(directory)
        _move(directory, target, overwrite=overwrite)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _make_readable(directory: Path) -> None:
    directory.chmod(0o755)
    for path in directory.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _move(directory: Path, target: Path, *, overwrite: bool) -> None:
    if not overwrite:
        _must_be_free(target)  # it may have appeared meanwhile
    if target.exists():
        _replace(target, directory)
    else:
        directory.rename(target)


def _must_be_free(target: Path) -> None:
    if target.exists():
        raise ExportError(f"{target} exists; choose another --version, or replace it: --overwrite")


def _replace(target: Path, directory: Path) -> None:
    aside = Path(mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    old = target.rename(aside / target.name)
    try:
        directory.rename(target)
    except BaseException:
        old.rename(target)
        aside.rmdir()
        raise
    shutil.rmtree(aside)
