"""Files that hold many images: which of them a path names, and the dataset in them.

Each image is found by its place in its file, so that epochs are shuffled as those of a folder are,
and the same images give the same run from either.
"""

import logging
import re
from pathlib import Path

from training.data.entries import Entry, dataset_of
from training.data.files import FileDataset
from training.data.mindrecord import index_of, read_mindrecord
from training.data.tar_index import kept
from training.data.tars import read_tar
from training.errors import DatasetError

RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
TAR = ".tar"

logger = logging.getLogger(__name__)


def named_shards(path: Path) -> list[Path]:
    """Return the shards that a path names: a file, or several by ranges such as {000..123}.

    There are none if it is a folder, or nothing. Raises DatasetError if one of several is missing.
    """
    found = _expanded(str(path))
    if len(found) == 1:
        return found if found[0].is_file() else []
    missing = [shard for shard in found if not shard.is_file()]
    if missing:
        raise DatasetError(f"{path} names {len(found)} files, but there is no {missing[0]}")
    return found


def shards_in(folder: Path) -> list[Path]:
    """Return the shards in a folder, by name."""
    return sorted(p for p in folder.iterdir() if p.suffix == TAR or index_of(p).is_file())


def open_shards(source: Path, shards: list[Path]) -> FileDataset:
    """Open tars or MindRecord files; raise DatasetError if one is damaged, or none has images."""
    logger.info(
        "%s: %d shards; the first time it takes a while to look through tars", source, len(shards)
    )
    entries = [entry for path in shards for entry in _read(path)]
    if not entries:
        raise DatasetError(f"no images in {source}, though it has {len(shards)} shards")
    return dataset_of(source.resolve(), entries, shards[0].parent)


def _read(path: Path) -> list[Entry]:
    if path.suffix == TAR:
        return kept(path, read_tar)
    if index_of(path).is_file():
        return read_mindrecord(path)
    raise DatasetError(
        f"{path} is neither a tar ({TAR}), nor a MindRecord file: that has {index_of(path).name} "
        f"beside it"
    )


def _expanded(text: str) -> list[Path]:
    """Return the paths of all ranges; numbers are as long as the first is written."""
    found = RANGE.search(text)
    if not found:
        return [Path(text)]
    first, last = found.groups()
    numbers = range(int(first), int(last) + 1)
    before, after = text[: found.start()], text[found.end() :]
    return [path for n in numbers for path in _expanded(f"{before}{n:0{len(first)}}{after}")]
