"""All images of a run, in shards: made once, so that every shard has the same images for ever.

It is a Parquet file with a group of rows per shard. A run that goes on reads it and does not search
the source again: files that came or went meanwhile move no image to another shard.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from deploy.batch.errors import DatasetError
from deploy.batch.item import Item

SCHEMA = pa.schema(
    {
        "path": pa.binary(),  # as the system has it
        "key": pa.binary(),
        "offset": pa.int64(),
        "nbytes": pa.int64(),
        "broken": pa.string(),
    }
)


class Plan:
    """The plan in a file; any thread may call.

    Raises `DatasetError` if the file is another's, and what Arrow raises if it cannot be read.

    Attributes:
        shards: how many there are.
        images: of all of them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._metadata = pq.read_metadata(path)
        if (found := self._metadata.schema.to_arrow_schema()) != SCHEMA:
            raise DatasetError(f"{path} is no plan of a run: it has {', '.join(found.names)}")
        self.shards: int = self._metadata.num_row_groups
        self.images: int = self._metadata.num_rows

    def count(self, shard: int) -> int:
        """Return how many images a shard has."""
        return int(self._metadata.row_group(shard).num_rows)

    def read(self, shard: int) -> list[Item]:
        """Return the images of a shard, in order; raise `DatasetError` if that fails."""
        try:
            with pq.ParquetFile(self._path, metadata=self._metadata) as file:
                columns = file.read_row_group(shard, use_threads=False).to_pydict()
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(f"{self._path} cannot be read: {error}") from error
        paths, keys = (_decoded(columns[name]) for name in ("path", "key"))
        others = (columns[name] for name in ("offset", "nbytes", "broken"))
        return [Item(path or "", *rest) for path, *rest in zip(paths, keys, *others, strict=True)]


def write_plan(path: Path, groups: Iterable[Sequence[Item]], shard_images: int) -> int:
    """Write the plan of a source and return its images; a group stays whole."""
    images = 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for shard in _shards(groups, shard_images):
            writer.write_table(_table(shard), row_group_size=len(shard))
            images += len(shard)
    return images


def _shards(groups: Iterable[Sequence[Item]], shard_images: int) -> Iterator[list[Item]]:
    shard: list[Item] = []
    for group in groups:
        if shard and len(shard) + len(group) > shard_images:
            yield shard
            shard = []
        shard += group
    if shard:
        yield shard


def _table(items: Sequence[Item]) -> pa.Table:
    paths, keys, *others = zip(*items, strict=True)
    return pa.table([_encoded(paths), _encoded(keys), *map(list, others)], schema=SCHEMA)


def _encoded(names: Iterable[str | None]) -> list[bytes | None]:
    return [None if name is None else os.fsencode(name) for name in names]


def _decoded(names: Iterable[bytes | None]) -> list[str | None]:
    return [None if name is None else os.fsdecode(name) for name in names]
