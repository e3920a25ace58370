"""`rollout.yaml`, beside the versions of a model: what its labels mean, one a line.

    stable: 1
    canary: {version: 2, share: 10%}
    shadow: 3

The one place where labels are kept. Whoever sets one by a call changes the file, and of its text
only that label: the comments of whoever wrote it stay.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NoReturn

from bundle.small_file import NotAFileError, read_small
from serving.engine.rollout import CANARY, Rollout
from serving.repository.rollout_yaml import EXAMPLE, Entry, NotARolloutError, parse, share_text

ROLLOUT = "rollout.yaml"
LARGEST_FILE = 16 * 1024  # bytes


class RolloutError(Exception):
    """A file of labels is wrong; the message says where, and what would be right."""


@dataclass(frozen=True)
class RolloutFile:
    """A file of labels, which need not exist, and its text."""

    path: Path
    text: str
    entries: dict[str, Entry]

    @classmethod
    def of(cls, text: str, path: Path) -> "RolloutFile":
        """Return the file with this text; raise `RolloutError`."""
        try:
            return cls(path, text, parse(text))
        except NotARolloutError as error:
            raise RolloutError(f"{path}:{error.line}: {error}") from None

    @property
    def rollout(self) -> Rollout:
        """What it says."""
        versions = {label: entry.version for label, entry in self.entries.items()}
        return Rollout(versions, self.entries[CANARY].share if CANARY in versions else 0.0)

    def refuse(self, label: str, why: str) -> NoReturn:
        """Raise `RolloutError` about a label, with its line."""
        raise RolloutError(f"{self.path}:{self.entries[label].line}: {label}: {why}")

    def with_label(self, label: str, version: str, share: float = 0.0) -> "RolloutFile":
        """Return the file with a label set, and all else as it was; raise `RolloutError`."""
        value = f"{{version: {version}, share: {share_text(share)}}}" if share else version
        if entry := self.entries.get(label):
            text = f"{self.text[: entry.start]}{label}: {value}{self.text[entry.stop :]}"
        else:
            first = min((entry.start for entry in self.entries.values()), default=0)
            indent = " " * (first - self._line_start(first))
            end = "\n" if self.text and not self.text.endswith("\n") else ""
            text = f"{self.text}{end}{indent}{label}: {value}\n"
        return self.of(text, self.path)

    def without_label(self, label: str) -> "RolloutFile":
        """Return the file without the lines of a label; raise `RolloutError`."""
        entry = self.entries[label]
        after = self.text.find("\n", entry.stop) + 1 or len(self.text)
        return self.of(self.text[: self._line_start(entry.start)] + self.text[after:], self.path)

    def write(self) -> None:
        """Write it, whole or not at all; raise `OSError`."""
        path = self.path.resolve()
        mode = path.stat().st_mode if path.exists() else 0o644
        with NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".part", delete=False) as new:
            try:
                new.write(self.text.encode())
                new.flush()
                os.fchmod(new.fileno(), mode)
                os.fsync(new.fileno())
                Path(new.name).replace(path)
            except BaseException:
                Path(new.name).unlink()
                raise

    def _line_start(self, at: int) -> int:
        return self.text.rfind("\n", 0, at) + 1


def read(path: Path) -> RolloutFile:
    """Return a file; one that does not exist holds no labels.

    Raises:
        RolloutError: it is wrong, too large, or cannot be read.
    """
    try:
        content = read_small(path, LARGEST_FILE)
    except NotAFileError as error:
        raise RolloutError(str(error)) from None
    except FileNotFoundError:
        content = b""
    except OSError as error:
        raise RolloutError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > LARGEST_FILE:
        raise RolloutError(f"{path} has more than {LARGEST_FILE} bytes; {EXAMPLE}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RolloutError(f"{path}:{line}: it is not UTF-8") from None
    return RolloutFile.of(text, path)
