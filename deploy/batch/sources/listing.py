"""From what the user names to files of one kind, in an order that is always the same."""

import glob
import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Literal

from cli.text import printable
from clients.files import SUFFIXES
from deploy.batch.errors import DatasetError

logger = logging.getLogger(__name__)

Kind = Literal["image", "Parquet file", "tar"]

KINDS: dict[str, Kind] = {
    **dict.fromkeys(sorted(SUFFIXES), "image"),
    ".parquet": "Parquet file",
    ".pq": "Parquet file",
    ".tar": "tar",
}
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
# As many suffixes of other files are told of.
MOST_TOLD = 5


def list_source(source: str) -> tuple[Kind, Iterator[str]]:
    """Return the kind of the files that `source` names, and the files.

    Folders are searched recursively, by suffix; links to folders are followed, each folder once. A
    file that is named, or that a glob matches, is an image if its suffix says nothing else.

    Raises:
        DatasetError: there is none, or they are of several kinds; the iterator may raise it, too.
    """
    found = _Listing(source).files()
    try:
        kind, first = next(found)
    except StopIteration:
        raise DatasetError(
            f"SOURCE {source} holds no images ({', '.join(sorted(SUFFIXES))}), no Parquet files "
            f"(.parquet, .pq) and no tars (.tar)"
        ) from None
    return kind, _of_one_kind(source, kind, first, found)


def _of_one_kind(
    source: str, kind: Kind, first: str, others: Iterator[tuple[Kind, str]]
) -> Iterator[str]:
    yield first
    for other, path in others:
        if other != kind:
            raise DatasetError(
                f"SOURCE {source} mixes kinds: {first} is of kind {kind}, {path} of kind {other}; "
                f"name files of one kind with a glob in quotes, such as '{source}/**/*.jpg'"
            )
        yield path


class _Listing:
    """One search; `files` yields kind and path."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._seen: set[tuple[int, int]] = set()
        self._left_out = Counter[str]()

    def files(self) -> Iterator[tuple[Kind, str]]:
        # A name itself comes first: it may contain the characters of a glob.
        is_name = os.path.lexists(self._source)
        for path in [Path(self._source)] if is_name else _matches(self._source):
            if path.is_dir():
                yield from self._inside(path)
            else:
                yield _kind(path.name) or "image", str(path)
        if self._left_out:
            told = ", ".join(f"{n} {suffix}" for suffix, n in self._left_out.most_common(MOST_TOLD))
            logger.warning(
                "left out: %d files that are neither images, Parquet files nor tars (%s)",
                self._left_out.total(),
                printable(told),
            )

    def _inside(self, top: Path) -> Iterator[tuple[Kind, str]]:
        waiting = self._entries(top)
        while waiting:
            entry = waiting.pop()
            # A link may lead to itself, which only `Path` bears.
            if Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir():
                waiting += self._entries(Path(entry.path))
            elif kind := self._kind_inside(entry.name):
                yield kind, entry.path

    def _entries(self, folder: Path) -> "list[os.DirEntry[str]]":
        """Return what a folder holds, the first one last; nothing if it was searched before."""
        with _searchable(folder):
            found = folder.stat()
            identity = found.st_dev, found.st_ino
            if identity in self._seen:
                logger.warning(
                    "left out: %s was searched under another name", printable(f"{folder}")
                )
                return []
            self._seen.add(identity)
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: os.fsencode(entry.name), reverse=True)

    def _kind_inside(self, name: str) -> Kind | None:
        kind = _kind(name)
        if kind == "Parquet file" and name.startswith(("_", ".")):
            return None  # what others keep beside their data, as every reader of Parquet has it
        if kind is None:
            self._left_out[Path(name).suffix or "without a suffix"] += 1
        return kind


def _kind(name: str) -> Kind | None:
    lower = name.lower()
    if lower.endswith(PACKED):
        raise DatasetError(
            f"SOURCE: {name} is a compressed tar, of which nothing can be found without reading "
            f"all before it; unpack it to a .tar first (gunzip, unzstd, ...)"
        )
    return KINDS.get(os.path.splitext(lower)[1])  # noqa: PTH122 - for each of millions


def _matches(pattern: str) -> list[Path]:
    parts = Path(pattern).parts
    fixed = list(takewhile(lambda part: not glob.has_magic(part), parts))
    rest = list(parts[len(fixed) :])
    if not rest:
        raise DatasetError(f"SOURCE: there is no {pattern}")
    try:
        # Unlike `glob.glob` it follows no link in **, and so ends.
        found = {path for path in Path(*fixed).glob("/".join(rest)) if _is_meant(path, rest)}
    except (ValueError, OSError) as error:  # such as a**b, or a name that is too long
        raise DatasetError(f"SOURCE {pattern}: {error}") from error
    if not found:
        raise DatasetError(f"SOURCE: nothing matches {pattern}")
    return sorted(found, key=os.fsencode)


def _is_meant(path: Path, glob_parts: list[str]) -> bool:
    """Whether a glob may match a hidden file: only if it says so, as in a shell."""
    return not path.name.startswith(".") or glob_parts[-1].startswith(".")


@contextmanager
def _searchable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror
        raise DatasetError(f"SOURCE: the folder {folder} cannot be read: {why}") from error
