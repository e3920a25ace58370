"""A bundle appears whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from export.errors import ExportError


def next_version(bundles: Path) -> str:
    """Return the number after the highest version in that directory, "1" where there is none."""
    taken = [int(path.name) for path in bundles.glob("*") if path.name.isdecimal()]
    return str(max(taken, default=0) + 1)


@contextmanager
def staged(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a directory that becomes `target` when the block ends well, and vanishes otherwise.

    Everyone may read the result. Raises `ExportError` where `target` exists already.
    """
    if target.exists() and not overwrite:
        raise ExportError(f"{target} exists; choose another --version, or replace it: --overwrite")
    target.parent.mkdir(parents=True, exist_ok=True)
    directory = Path(mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield directory
        _let_everyone_read(directory)
        _move(directory, target)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _let_everyone_read(directory: Path) -> None:
    directory.chmod(0o755)
    for path in directory.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _move(directory: Path, target: Path) -> None:
    if not target.exists():
        directory.rename(target)
        return
    aside = Path(mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    target.rename(aside / target.name)
    directory.rename(target)
    shutil.rmtree(aside)
