"""The folders of a repository, as they look from outside: nothing of a bundle is read."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bundle.manifest import MANIFEST
from bundle.store import SEAL

# What changes when a file of a folder is written, replaced or removed.
Look = tuple[tuple[str, int, int, int], ...]


class Folder(NamedTuple):
    """A folder `<name>/<version>` that may hold a bundle.

    Attributes:
        look: name, size, time of the last change and inode of every file; it changes with
            them.
        lack: why it surely holds no bundle; empty if only opening it can tell.
    """

    name: str
    version: str
    path: Path
    look: Look
    lack: str


class Found(NamedTuple):
    """What a repository holds.

    Attributes:
        folders: by name and version.
        unreadable: why nothing is known of a name.
        unnamed: folders whose names cannot be shown: no bundle can be called so, and neither the
            metrics nor an answer could hold them.
    """

    folders: Mapping[str, Mapping[str, Folder]]
    unreadable: Mapping[str, str]
    unnamed: Sequence[Path] = ()

    @property
    def names(self) -> list[str]:
        """The names of which a version may hold a bundle."""
        return [name for name, folders in self.folders.items() if likely(folders)]

    @property
    def is_empty(self) -> bool:
        """Whether it holds not a single folder."""
        return not (self.folders or self.unreadable)

    def all(self) -> Iterator[Folder]:
        """Yield every folder, by name."""
        for name in sorted(self.folders):
            yield from self.folders[name].values()


def likely(folders: Mapping[str, Folder]) -> list[str]:
    """Return the versions that may hold a bundle."""
    return [version for version, folder in folders.items() if not folder.lack]


def scan(root: Path) -> Found:
    """Return what the repository at `root` holds; raise `OSError` if it cannot be read.

    Files, and what is hidden, are passed over: a repository may hold other things beside bundles.
    """
    folders: dict[str, Mapping[str, Folder]] = {}
    unreadable: dict[str, str] = {}
    unnamed: list[Path] = []
    for name, path in _subfolders(root, unnamed):
        try:
            versions = _subfolders(path, unnamed)
            folders[name] = {version: _folder(name, version, below) for version, below in versions}
        except OSError as error:
            unreadable[name] = f"{path} cannot be read: {error.strerror}"
    return Found(folders, unreadable, unnamed)


def _subfolders(path: Path, unnamed: list[Path]) -> Iterator[tuple[str, Path]]:
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith(".") or not _may_be_folder(entry):
                continue
            if entry.name.isprintable():
                yield entry.name, path / entry.name
            else:  # bytes that are no UTF-8, and what would colour a terminal
                unnamed.append(path / entry.name)


def _may_be_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symbolic link that leads to itself: a mistake that is told
        return True


def _folder(name: str, version: str, path: Path) -> Folder:
    try:
        look = tuple(sorted(_files(path, path)))
    except OSError as error:
        return Folder(name, version, path, (), f"it cannot be read: {error.strerror}")
    missing = [file for file in (SEAL, MANIFEST) if file not in {entry[0] for entry in look}]
    return Folder(name, version, path, look, _lack(path, missing) if missing else "")


def _lack(path: Path, missing: Sequence[str]) -> str:
    if (path.parent / MANIFEST).is_file():  # the repository is named one level too deep
        return f"{path.parent} is a bundle, which has to be in <name>/<version>/ of the repository"
    return f"it holds no {' and no '.join(missing)}; is it still being copied?"


def _files(root: Path, path: Path) -> Iterator[tuple[str, int, int, int]]:
    """Yield what tells that a file has changed; below a folder only where there is a seal."""
    with os.scandir(path) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                found = entry.stat(follow_symlinks=False)
                name = Path(entry.path).relative_to(root).as_posix()
                yield name, found.st_size, found.st_mtime_ns, found.st_ino
            elif (root / SEAL).is_file():
                yield from _files(root, Path(entry.path))
