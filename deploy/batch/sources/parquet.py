"""Parquet files with a column of images, or of paths of images."""

import os
from collections.abc import Iterator, Sequence
from itertools import chain, count, groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from deploy.batch.errors import DatasetError
from deploy.batch.item import Content, Item, Trouble
from deploy.batch.sources.files import Files
from images.limits import ImageLimits

# Rows that are read at once: some megabytes of photos.
BATCH_ROWS = 32
NULL = "the row has no image (null)"
FEWER = "it has fewer rows than it states"
# What reading a file raises that is none, or is damaged: names are not always text then.
DAMAGE = (OSError, pa.ArrowException, UnicodeDecodeError)


class Column(NamedTuple):
    """What is read of a Parquet source: a column of bytes or of paths, and one of keys."""

    name: str
    is_paths: bool
    key: str | None


def choose_column(path: str, wanted: str | None, key: str | None) -> Column:
    """Return what to read, by the first file; raise `DatasetError`, which names the columns."""
    schema = _open(path).schema_arrow
    told = ", ".join(f"{field.name} ({field.type})" for field in schema)
    for flag, name in (("column", wanted), ("key-column", key)):
        if name is not None and schema.names.count(name) != 1:
            found = "several such columns" if name in schema.names else "no such column"
            raise DatasetError(f"--{flag} {name}: {path} has {found}; it has {told}")
    if wanted is None:
        images = [field.name for field in schema if _has_bytes(field.type)]
        if len(images) != 1:
            many = "several columns" if images else "no column"
            raise DatasetError(
                f"{path} has {many} of bytes; name the one of the images, or of their paths, with "
                f"--column; it has {told}"
            )
        [wanted] = images
    kind = schema.field(wanted).type
    if not _has_bytes(kind) and not _is_text(kind):
        raise DatasetError(
            f"--column {wanted}: it has {kind}, but images are bytes (binary, or a struct with a "
            f"field bytes) and paths are strings; {path} has {told}"
        )
    return Column(wanted, _is_text(kind), key)


class Rows:
    """The images in a column of bytes."""

    def __init__(self, paths: Iterator[str], column: Column, limits: ImageLimits) -> None:
        self._paths, self._column, self._limits = paths, column, limits

    def groups(self) -> Iterator[Sequence[Item]]:
        """Yield what each group of rows has: to read a part of one costs as much as the whole."""
        for path in self._paths:
            with _open(path) as file:
                _check(path, file, self._column)
                rows = count()
                for group, keys in _keys(path, file, self._column.key):
                    nrows = file.metadata.row_group(group).num_rows
                    yield [
                        Item(path, key if key is not None else str(row), row)
                        for row, key in zip(islice(rows, nrows), keys, strict=True)
                    ]

    def read(self, items: Sequence[Item]) -> Iterator[Content]:
        """Yield what each row holds."""
        for path, rows in groupby(items, attrgetter("path")):
            of_file = list(rows)
            read, why = 0, FEWER
            try:
                for content in self._read(path, of_file[0].offset, len(of_file)):
                    yield content
                    read += 1
            except (*DAMAGE, DatasetError) as error:
                why = _words(error)
            trouble = Trouble("UNREADABLE", f"the Parquet file cannot be read: {why}")
            yield from [trouble] * (len(of_file) - read)

    def _read(self, path: str, first: int, rows: int) -> Iterator[Content]:
        with _open(path) as file:
            _check(path, file, self._column)
            groups, start, found = list[int](), 0, 0
            for group in range(file.num_row_groups):
                held = file.metadata.row_group(group).num_rows
                if first <= start < first + rows:
                    groups.append(group)
                    found += held
                start += held
            if found != rows:
                raise DatasetError("it has other rows than when the run began")
            # By its name: Arrow also reads what a.b may mean, the field b of a.
            batches = file.iter_batches(BATCH_ROWS, groups, [self._column.name])
            columns = (batch.column(self._column.name) for batch in batches)
            # A damaged file may have more rows than it states, or fewer.
            yield from islice(map(self._content, chain.from_iterable(columns)), rows)

    def _content(self, value: Any) -> Content:
        if pa.types.is_struct(value.type):
            value = value["bytes"] if value.is_valid else value
        if not value.is_valid:
            return Trouble("UNREADABLE", NULL)
        buffer = value.as_buffer()
        limit = self._limits.max_image_bytes
        if len(buffer) > limit:
            found = f"the image has {len(buffer)} bytes"
            return Trouble("INVALID", f"{found}; max_image_bytes allows at most {limit}")
        return bytes(buffer)


class Paths(Files):
    """The image files that a column names; names that are relative count from the Parquet file."""

    def __init__(self, paths: Iterator[str], column: Column, limits: ImageLimits) -> None:
        super().__init__(paths, limits)
        self._column = column

    def groups(self) -> Iterator[Sequence[Item]]:
        """Yield a group for each row."""
        for path in self._paths:
            with _open(path) as file:
                _check(path, file, self._column)
                names = [self._column.name, *filter(None, [self._column.key])]
                rows, folder = count(), Path(path).parent
                try:
                    for batch in file.iter_batches(columns=list(dict.fromkeys(names))):
                        keys = _texts(batch, self._column.key)
                        for name, key in zip(_texts(batch, self._column.name), keys, strict=True):
                            yield [_of_path(folder, path, name, key, next(rows))]
                except DAMAGE as error:
                    raise DatasetError(f"SOURCE: {path} is damaged: {_words(error)}") from error
                if next(rows) != file.metadata.num_rows:
                    raise DatasetError(f"SOURCE: {path} is damaged: {FEWER}")


def _of_path(folder: Path, path: str, name: str | None, key: str | None, row: int) -> Item:
    if name is None:
        return Item(path, key or str(row), broken=NULL)
    return Item(str(folder / name), key)


def _keys(
    path: str, file: pq.ParquetFile, key: str | None
) -> Iterator[tuple[int, Sequence[str | None]]]:
    """Yield each group of rows that has any, and their keys."""
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if not rows:
            continue
        keys: Sequence[str | None] = [None] * rows
        if key is not None:
            try:
                keys = _texts(file.read_row_group(group, [key]), key)
            except DAMAGE as error:
                raise DatasetError(f"--key-column {key} of {path}: {_words(error)}") from error
            if len(keys) != rows:
                raise DatasetError(f"--key-column {key} of {path}: {FEWER}")
        yield group, keys


def _texts(table: Any, column: str | None) -> list[str | None]:
    if column is None:
        return [None] * int(table.num_rows)
    values = table.column(column)
    if _is_text(values.type):  # whoever wrote it may have taken bytes for text, as names of files
        names = values.cast(pa.large_binary()).to_pylist()
        return [None if name is None else os.fsdecode(name) for name in names]
    return [None if value is None else str(value) for value in values.to_pylist()]


def _check(path: str, file: pq.ParquetFile, column: Column) -> None:
    """Raise `DatasetError` unless a file has what the first one has."""
    schema = file.schema_arrow
    told = ", ".join(f"{field.name} ({field.type})" for field in schema)
    for name in filter(None, (column.name, column.key)):
        if schema.names.count(name) != 1:
            found = "several columns" if name in schema.names else "no column"
            raise DatasetError(f"{path} has {found} {name}, unlike the first file; it has {told}")
    is_meant = _is_text if column.is_paths else _has_bytes
    if not is_meant(kind := schema.field(column.name).type):
        raise DatasetError(
            f"{path}: column {column.name} has {kind}, unlike that of the first file"
        )


def _open(path: str) -> pq.ParquetFile:
    """Open a file that is read piece by piece, not ahead; raise `DatasetError`."""
    try:
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20)
        _ = file.schema_arrow.names  # they may be no text
    except DAMAGE as error:
        raise DatasetError(f"SOURCE: {path} is no Parquet file: {_words(error)}") from error
    return file


def _has_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_bytes(kind.field(index).type)
    return _is_bytes(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _words(error: BaseException) -> str:
    """Return the first line of what Arrow says."""
    return str(error).partition("\n")[0].rstrip(".")
