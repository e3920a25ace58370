"""Any folder by a name that MindSpore takes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def plain(folder: Path) -> Iterator[Path]:
    """Yield another path of a folder, while the block runs.

    MindSpore writes only to paths of ASCII letters, digits and `@_-.:/`, so to no folder with a
    blank. Linux leads to an open folder by the number of its descriptor, whatever its name.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
