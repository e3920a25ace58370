"""Tars as WebDataset makes them: members with one name before the first dot are one sample."""

import logging
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from cli.text import printable
from clients.files import SUFFIXES
from clients.reading import reason
from deploy.batch.errors import DatasetError
from deploy.batch.item import Content, Item, Trouble
from images.limits import ImageLimits

logger = logging.getLogger(__name__)

REST = "(the rest of the tar)"
BEHIND = "something follows the end of the tar, such as another one (join with tar --concatenate)"


class Tars:
    """The images of tars that are not compressed; only headers are read to find them."""

    def __init__(self, paths: Iterator[str], limits: ImageLimits) -> None:
        self._paths, self._limits = paths, limits

    def groups(self) -> Iterator[Sequence[Item]]:
        """Yield a group for each member that is an image, and for what is missing of a tar."""
        for path in self._paths:
            for item in _members(path):
                yield [item]

    def read(self, items: Sequence[Item]) -> Iterator[Content]:
        """Yield what each member holds."""
        opened: tuple[str, BinaryIO | Trouble] | None = None
        try:
            for item in items:
                if item.broken:
                    yield Trouble("UNREADABLE", item.broken)
                    continue
                if not opened or opened[0] != item.path:
                    _close(opened)
                    opened = item.path, _open(item.path)
                yield self._read(opened[1], item)
        finally:
            _close(opened)

    def _read(self, file: BinaryIO | Trouble, item: Item) -> Content:
        if isinstance(file, Trouble):
            return file
        limit = self._limits.max_image_bytes
        if item.nbytes > limit:
            found = f"the image has {item.nbytes} bytes"
            return Trouble("INVALID", f"{found}; max_image_bytes allows at most {limit}")
        try:
            file.seek(item.offset)
            data = file.read(item.nbytes)
        except OSError as error:
            return Trouble("UNREADABLE", f"the tar cannot be read: {reason(error)}")
        if len(data) < item.nbytes:
            return Trouble("UNREADABLE", "the tar has become shorter since the run began")
        return data


def _members(path: str) -> Iterator[Item]:
    """Yield the images of a tar, in its order; last, if it is cut off or damaged, what is wrong."""
    broken = None
    try:
        with tarfile.open(path, "r:") as tar:
            size = Path(path).stat().st_size
            while member := tar.next():
                tar.members = []  # type: ignore[attr-defined] # it keeps all that it has seen
                # Of one with holes, only tarfile knows how many bytes it takes here.
                end = tar.offset if member.issparse() else member.offset_data + member.size
                if end > size:
                    broken = Item(
                        path, member.name, broken=f"the tar ends {end - size} B too early"
                    )
                    break
                if Path(member.name).suffix.lower() in SUFFIXES and not member.isdir():
                    place = member.offset_data, member.size
                    yield Item(path, member.name, *place, broken=_trouble(member))
            else:
                broken = _end(path, tar)
    except (tarfile.TarError, ValueError, OverflowError, MemoryError) as error:
        # All but the first come of numbers that cannot be.
        broken = Item(path, REST, broken=f"the tar is damaged: {error or 'a header is too large'}")
    except OSError as error:
        raise DatasetError(f"SOURCE: {path} cannot be read: {reason(error)}") from error
    if broken:
        logger.warning("%s: %s; whatever follows is missing", printable(path), broken.broken)
        yield broken


def _trouble(member: tarfile.TarInfo) -> str | None:
    """Return why a member cannot be read as it lies there, if so."""
    if member.issym() or member.islnk():
        link = printable(member.linkname)
        return f"it is a link to {link}: make the tar with --dereference --hard-dereference"
    if member.issparse():
        return "it is stored without its holes: make the tar without --sparse"
    return None if member.isreg() else "it is no file"


def _end(path: str, tar: tarfile.TarFile) -> Item | None:
    """Return what is wrong where no member follows: tarfile calls a damaged header an end, too."""
    with Path(path).open("rb") as file:
        file.seek(tar.offset)
        block = file.read(tarfile.BLOCKSIZE)
        if len(block) < tarfile.BLOCKSIZE:
            return Item(path, REST, broken="the tar has no end mark: it was cut off")
        if any(block):
            return Item(path, REST, broken=f"the tar is damaged at byte {tar.offset}")
        while more := file.read(2**20):
            if more.strip(b"\0"):
                return Item(path, REST, broken=BEHIND)
    return None


def _open(path: str) -> BinaryIO | Trouble:
    try:
        return Path(path).open("rb")
    except OSError as error:
        return Trouble("UNREADABLE", f"the tar cannot be read: {reason(error)}")


def _close(opened: tuple[str, BinaryIO | Trouble] | None) -> None:
    if opened and not isinstance(opened[1], Trouble):
        opened[1].close()
