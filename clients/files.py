"""From names on the command line to image files, and from files to requests of limited size."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path

from cli.program import UsageError
from clients.messages import MAX_MESSAGE_BYTES
from clients.reading import read_file, reason

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


def find_images(patterns: Iterable[str]) -> list[Path]:
    """Return each file once, in the order named; folders are searched recursively, by suffix.

    Links to files count as these, so the first name of a file stands for all. Links to folders are
    followed where they are named themselves, and not where a search meets them. What is no file, a
    pipe or a broken link say, is among the answers: reading it says what is wrong.

    Raises:
        UsageError: there is no file of a name, or no image in a folder.
    """
    found: dict[str, Path] = {}
    for pattern in patterns:
        for path in _expand(pattern):
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def read_image(path: Path) -> bytes:
    """Return what a file holds; raise `UsageError` if it cannot be read, or sent."""
    try:
        return read_file(path, MAX_MESSAGE_BYTES)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {reason(error)}") from error


def split(paths: Sequence[Path], *, max_images: int, max_bytes: int) -> Iterator[tuple[Path, ...]]:
    """Yield the files in order, in groups within both limits; a larger file has its own group."""
    group: list[Path] = []
    group_bytes = 0
    for path in paths:
        size = _size(path)
        if group and (len(group) >= max_images or group_bytes + size > max_bytes):
            yield tuple(group)
            group, group_bytes = [], 0
        group.append(path)
        group_bytes += size
    if group:
        yield tuple(group)


def _expand(pattern: str) -> list[Path]:
    # A file's own name comes first: it may contain the characters of a glob.
    named = [Path(pattern)] if os.path.lexists(pattern) else _matches(pattern)
    found = [path for name in named for path in (_inside(name) if name.is_dir() else [name])]
    if not found:
        raise UsageError(f"no images ({', '.join(sorted(SUFFIXES))}) in {pattern}")
    return found


def _matches(pattern: str) -> list[Path]:
    """Return what a glob stands for; unlike Python's `glob.glob`, it follows no link in `**`."""
    parts = Path(pattern).parts
    fixed = list(takewhile(lambda part: not glob.has_magic(part), parts))
    rest = parts[len(fixed) :]
    try:
        matches = Path(*fixed).glob("/".join(rest)) if rest else ()
        found = sorted(path for path in matches if _is_meant(path, rest))
    except ValueError as error:  # such as a**b
        raise UsageError(f"{pattern}: {error}") from error
    except OSError:  # a name too long, say
        found = []
    if not found:
        raise UsageError(f"no such file, folder or glob: {pattern}")
    return found


def _is_meant(path: Path, glob_parts: Sequence[str]) -> bool:
    """Whether a glob may match a hidden file: only if it says so, as in a shell."""
    return not path.name.startswith(".") or glob_parts[-1].startswith(".")


def _inside(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not path.is_dir()
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # reading it will fail too, and say why in the file's own row
