"""Reading a file that may be anything: never for ever, and never more than can be sent."""

import os
import stat
from pathlib import Path

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class FileRefusedError(OSError):
    """The file is none that could be an image; the message says why."""


class FileTooLargeError(FileRefusedError):
    """The file does not fit into a message."""


def read_file(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises:
        FileRefusedError: it is larger, or something else than a file.
        OSError: it cannot be read.
    """
    _check(path.stat(), limit)
    # It may have become another one meanwhile; a pipe would block.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        _check(os.fstat(file.fileno()), limit)
        data = file.read(limit + 1)
    if len(data) > limit:
        raise _too_large(len(data), limit)
    return data


def reason(error: OSError) -> str:
    """Return why a file cannot be read, without its name."""
    return error.strerror or str(error)


def _check(found: os.stat_result, limit: int) -> None:
    """Refuse what is no file before it is opened: to open a device may do something."""
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "no file")
        raise FileRefusedError(f"it is {kind}, not a file")
    if found.st_size > limit:
        raise _too_large(found.st_size, limit)


def _too_large(size: int, limit: int) -> FileTooLargeError:
    return FileTooLargeError(f"the file has {size} bytes; at most {limit} can be sent")
