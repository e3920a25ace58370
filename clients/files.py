"""From names on the command line to image files, and from files to requests of limited size."""

import glob
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cli.program import UsageError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


def find_images(patterns: Iterable[str]) -> list[Path]:
    """Return each file once, in the order named; folders are searched recursively, by suffix.

    Raises:
        UsageError: there is no file of a name, or no image in a folder.
    """
    return list(dict.fromkeys(path for pattern in patterns for path in _expand(pattern)))


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
    named = [Path(pattern)] if Path(pattern).exists() else _matches(pattern)
    return [path for found in named for path in (_inside(found) if found.is_dir() else [found])]


def _matches(pattern: str) -> list[Path]:
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - absolute patterns too
    if not found:
        raise UsageError(f"no such file, folder or glob: {pattern}")
    return [Path(path) for path in found]


def _inside(folder: Path) -> list[Path]:
    found = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()
    )
    if not found:
        raise UsageError(f"no images ({', '.join(sorted(SUFFIXES))}) in folder {folder}")
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # reading it will fail too, and say why in the file's own row
