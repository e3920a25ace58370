"""Images in tars, as WebDataset writes them (webdataset/tariterators.py), or as `tar` does.

Members whose names are equal up to the first dot of the file name belong together: 0001.jpg with
0001.cls, the class as a number or a name, or with 0001.json, {"label": 3, "class_name": "cat"},
where the name may be left out. Without either the folder within the tar is the class.
"""

import json
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from training.data.entries import Entry
from training.data.files import SUFFIXES, FilePart
from training.errors import DatasetError

NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]*)")
LABELS = ("cls", "json")


def read_tar(path: Path) -> list[Entry]:
    """Return the images of a tar; only their headers are read.

    Raises DatasetError if it is damaged or compressed, or if an image has no class.
    """
    images: list[tuple[str, str, FilePart]] = []
    stated: dict[str, dict[str, bytes]] = defaultdict(dict)
    try:
        with tarfile.open(path, "r:") as tar:
            for member, (key, suffix) in _members(tar):
                if f".{suffix}" in SUFFIXES:
                    part = FilePart(str(path), member.offset_data, member.size)
                    images.append((key, member.name, part))
                elif suffix in LABELS and (file := tar.extractfile(member)):
                    stated[key][suffix] = file.read()
    except (tarfile.TarError, OSError) as error:
        raise DatasetError(
            f"{path} is no whole tar: {error}; a compressed one must be unpacked, as images are "
            f"read out of order"
        ) from error
    return [_entry(name, part, stated.get(key, {})) for key, name, part in images]


def _members(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, tuple[str, str]]]:
    """Yield the files with their names up to, and from, the first dot."""
    for member in tar:
        if member.isreg() and (found := NAME.fullmatch(member.name)):
            yield member, (found[1], found[2].lower())
        tar.members = []  # type: ignore[attr-defined]  # else it keeps all of them


def _entry(name: str, part: FilePart, stated: Mapping[str, bytes]) -> Entry:
    try:
        if "cls" in stated:
            return Entry(name, part, _number_or_name(stated["cls"].decode().strip()))
        if "json" in stated:
            fields = json.loads(stated["json"])
            label = fields["label"]
            known = label if isinstance(label, int) else _number_or_name(str(label))
            return Entry(name, part, known, fields.get("class_name"))
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{part.path}: the class of {name} cannot be read: {error!r}") from error
    if folder := PurePosixPath(name).parent.name:
        return Entry(name, part, folder)
    raise DatasetError(
        f"{part.path}: {name} has no class: there is no .cls of that name, no .json, no folder"
    )


def _number_or_name(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
