"""What is in a tar, kept: to walk through its headers takes a minute per half a million images."""

import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

from training.data.entries import Entry
from training.data.files import FilePart
from training.settings.config import expanded

logger = logging.getLogger(__name__)


def kept(path: Path, read: Callable[[Path], list[Entry]]) -> list[Entry]:
    """Return what `read` finds in a file, or found in the same file before.

    It is the same if path, size and time of change are. The index is in XDG_CACHE_HOME, else in
    ~/.cache, and may be deleted; if it cannot be written there, the log says so.
    """
    index = _index_of(path)
    try:
        rows = json.loads(index.read_bytes())
        return [Entry(name, FilePart(str(path), *place), *of) for name, place, of in rows]
    except (OSError, ValueError):  # none yet, or damaged
        entries = read(path)
    try:
        _write(index, entries)
    except OSError as error:
        logger.warning("the index of %s is not kept: %s", path, error)
    return entries


def _index_of(path: Path) -> Path:
    base = expanded(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache"))
    about = path.stat()
    key = f"{path.resolve()} {about.st_size} {about.st_mtime_ns}"
    name = hashlib.sha256(key.encode()).hexdigest()
    return base / "resnext-serving/tars" / f"{name}.json"


def _write(index: Path, entries: list[Entry]) -> None:
    rows = [(e.name, (e.part.offset, e.part.size), (e.label, e.class_name)) for e in entries]
    index.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: processes of a group write the same file at once.
    new = index.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps(rows))
    new.replace(index)
