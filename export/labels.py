"""Files of labels, one on each line, as editors on any system write them."""

import codecs
import logging
from pathlib import Path

from export.errors import ExportError

logger = logging.getLogger(__name__)


def read_labels(path: Path) -> list[str]:
    """Return the lines of a text file in UTF-8, with or without a byte order mark, blanks trimmed.

    A line ends with LF or CRLF, and with nothing else: a label may hold what Unicode calls a line
    separator. A label that is there twice is only warned of: lists of ImageNet's classes have two
    cranes, a bird and a machine.

    Raises:
        ExportError: the file cannot be read, has no line, or an empty one.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ExportError(f"--labels {path} cannot be read: {error.strerror}") from error
    lines = data.removeprefix(codecs.BOM_UTF8).removesuffix(b"\n").split(b"\n")
    labels = [_decoded(path, number, line).strip() for number, line in enumerate(lines, 1)]
    if "" in labels:
        number = labels.index("") + 1
        raise ExportError(f"--labels {path}: line {number} is empty; each line is one label")
    lines_of: dict[str, int] = {}
    for number, label in enumerate(labels, 1):
        if (first := lines_of.setdefault(label, number)) < number:
            logger.warning(
                "--labels %s: line %d is %r, as line %d: only their index tells the two apart",
                path, number, label, first,
            )  # fmt: skip
    return labels


def _decoded(path: Path, number: int, line: bytes) -> str:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise ExportError(
            f"--labels {path}: line {number} is not UTF-8: byte {error.start + 1} of it is "
            f"0x{line[error.start]:02x}; save the file as UTF-8"
        ) from error
    if "\0" in text:
        raise ExportError(
            f"--labels {path}: line {number} holds a zero byte, so it is not UTF-8 text; save the "
            f"file as UTF-8"
        )
    return text
