"""Files of a bundle as they are read: real ones, inside of it, hashed through one descriptor."""

import hashlib
import io
import json
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import BaseModel

Content = TypeVar("Content", bound=BaseModel)

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


class BundleError(ValueError):
    """A bundle is incomplete, damaged or not what it says; the message names what disagrees."""


class Part(Protocol):
    """A file that a manifest names."""

    @property
    def path(self) -> str:
        """Its path inside the bundle."""

    @property
    def sha256(self) -> str:
        """Its hexadecimal sha256."""


def contents(root: Path) -> Iterator[str]:
    """Yield the name of every file under `root`, relative to it, in no order.

    Raises:
        BundleError: something is neither a file nor a folder, or leads out of `root`.
    """
    inside = root.resolve()
    for folder, folders, files in os.walk(root, onerror=_cannot_be_read):
        for name in (*folders, *files):
            path = Path(folder, name)
            if path.is_symlink():
                _check_link(path, inside)
            if (mode := stat.S_IFMT(path.stat().st_mode)) == stat.S_IFREG:
                yield path.relative_to(root).as_posix()
            elif name in files:
                raise BundleError(f"{path} is {KINDS[mode]}; a bundle holds only files and folders")


def open_file(path: Path) -> io.FileIO:
    """Open a file to read; raise `BundleError` for anything else, at once: a pipe would block."""
    try:
        # It closes what its opener opened if that is a folder; a descriptor it would leave open.
        file = io.FileIO(path, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    if (mode := stat.S_IFMT(os.fstat(file.fileno()).st_mode)) != stat.S_IFREG:
        file.close()
        raise BundleError(f"{path} is {KINDS[mode]} and no file")
    return file


def sha256(path: Path) -> str:
    """Return the hexadecimal sha256 of a file."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: Path, digest: str) -> bytes:
    """Return what a small file holds; raise `BundleError` if it has another sha256."""
    with open_file(path) as file:
        data = file.readall()
    if hashlib.sha256(data).hexdigest() != digest:
        raise BundleError(f"{path}: changed since its sha256 was checked")
    return data


@contextmanager
def held(root: Path, parts: Iterable[Part]) -> Iterator[Mapping[str, int]]:
    """Hash the parts of a model for a runtime that opens them inside the block.

    Each is opened here once. The runtime may open the descriptors, which are the values of what is
    yielded, as `/proc/self/fd/<descriptor>`, or the paths. So that nobody puts another file there
    between the two, or writes to this one, path and file must at the end be what they were.

    Raises:
        BundleError: a part is not the one that the manifest states, or was changed meanwhile.
    """
    with ExitStack() as stack:
        opened: dict[str, int] = {}
        identities: dict[str, tuple[int, ...] | None] = {}
        for part in parts:
            file = stack.enter_context(open_file(root / part.path))
            opened[part.path] = file.fileno()
            identities[part.path] = _identity(file.fileno())
            if hashlib.file_digest(file, "sha256").hexdigest() != part.sha256:
                raise BundleError(f"{root / part.path}: its sha256 is not the one in the manifest")
        yield opened
        for name, descriptor in opened.items():
            if {_identity(descriptor), _identity(root / name)} != {identities[name]}:
                raise BundleError(f"{root / name} was changed while it was loaded")


def parse(kind: type[Content], data: bytes) -> Content:
    """Return what a JSON file states; a key may stand only once in an object.

    Raises:
        ValueError: it states something else; a `ValidationError` if it is not about a key.
    """
    content = kind.model_validate_json(data)
    # Readers differ in which of two they take, so a manifest could say one thing to each.
    json.loads(data, object_pairs_hook=_once_each)
    return content


def _identity(file: int | Path) -> tuple[int, ...] | None:
    """Return what tells that a file is the same, and was not written to; None if it is gone."""
    try:
        found = os.stat(file)  # noqa: PTH116 - of a descriptor, too
    except FileNotFoundError:
        return None
    times = found.st_mtime_ns, found.st_ctime_ns
    return (found.st_dev, found.st_ino, found.st_size, *times)


def _once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    for key, times in Counter(key for key, _ in pairs).items():
        if times > 1:
            raise ValueError(f"the key {key!r} stands {times} times in one object")
    return dict(pairs)


def _check_link(path: Path, inside: Path) -> None:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise BundleError(f"{path} is a symbolic link that leads nowhere") from error
    if not target.is_relative_to(inside):
        raise BundleError(
            f"{path} is a symbolic link out of the bundle, to {target}; put the file itself there"
        )


def _cannot_be_read(error: OSError) -> None:
    raise BundleError(f"{error.filename} cannot be read: {error.strerror}") from error
