"""A reader of what W&B writes offline: LevelDB's log, with a record of its protocol in each entry.

The package itself reads it only to send it to a server. The format:
https://github.com/google/leveldb/blob/main/doc/log_format.md, after a header of 7 bytes.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record

BLOCK, HEADER = 32768, struct.Struct("<IHB")
WHOLE, LAST = 1, 4


def records(path: Path) -> Iterator[Record]:
    """Yield the records of a file, without one that is still being written."""
    data, at, parts = path.read_bytes(), HEADER.size, b""
    while at < len(data):
        if BLOCK - at % BLOCK < HEADER.size:
            at += BLOCK - at % BLOCK  # no header fits in the rest of the block
            continue
        _, size, kind = HEADER.unpack_from(data, at)
        parts += data[at + HEADER.size : at + HEADER.size + size]
        at += HEADER.size + size
        if at > len(data):
            return
        if kind in (WHOLE, LAST):
            yield Record.FromString(parts)
            parts = b""


def history(path: Path) -> list[dict[str, float]]:
    """Return what was logged, with W&B's own fields left out."""
    rows = (entry.history.item for entry in records(path) if entry.HasField("history"))
    return [
        {key: json.loads(item.value_json) for item in row if (key := _name(item))[0] != "_"}
        for row in rows
    ]


def config(path: Path) -> dict[str, object]:
    """Return the settings of the run."""
    updates = (entry.config.update for entry in records(path) if entry.HasField("config"))
    return {_name(item): json.loads(item.value_json) for update in updates for item in update}


def exit_codes(path: Path) -> list[int]:
    """Return the exit code of the run, if it has ended."""
    return [entry.exit.exit_code for entry in records(path) if entry.HasField("exit")]


def _name(item: object) -> str:
    return item.key or ".".join(item.nested_key)  # type: ignore[attr-defined]
