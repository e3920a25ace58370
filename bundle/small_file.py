"""Files that an operator writes while a server reads them."""

import os
import stat
from pathlib import Path


class NotAFileError(Exception):
    """There is a folder, a pipe or a device; the message has the path."""


def read_small(path: Path, most_bytes: int) -> bytes:
    """Return what a file holds, and no more than one byte beyond `most_bytes`.

    It never waits. The file is looked at once it is open: a pipe that is put in its place between a
    look and the opening would keep the reader waiting for ever, and whoever waits for the reader.

    Raises:
        NotAFileError: it is no file.
        OSError: it cannot be read.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise NotAFileError(f"{path} is not a file")
            return file.read(most_bytes + 1)
    except IsADirectoryError:
        raise NotAFileError(f"{path} is not a file") from None


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
