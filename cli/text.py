"""Text of strangers on a terminal: names of files, labels, what a server says."""

import sys
from io import TextIOWrapper


def printable(text: str) -> str:
    r"""Return text without power over a terminal, on one line.

    Whatever Unicode calls unprintable is escaped as in Python's source: control characters, line
    ends, marks that turn the direction of writing, and bytes of a file's name that are no text.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in text)


def survive_ascii() -> None:
    """Let standard output escape what its encoding lacks, as standard error does by itself."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _escape(letter: str) -> str:
    if "\udc80" <= letter <= "\udcff":  # Python's stand-in for a byte
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()
