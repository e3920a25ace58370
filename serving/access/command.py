"""`python -m serving token`: make a token, and say so in the token file."""

import fcntl
import os
import stat
from pathlib import Path

from serving.access import token_file
from serving.access.tokens import line, new_token, parse
from serving.errors import StartupError
from serving.settings.access import TokenConfig

PRIVATE = stat.S_IRUSR | stat.S_IWUSR


def make_token(config: TokenConfig) -> None:
    """Print a new token, and its line unless a file gets it.

    Raises:
        StartupError: the file cannot be written or is wrong, or has the name already.
    """
    token = new_token()
    entry = line(config.name, token, config.roles)
    if config.file:
        _add(config.file, config.name, entry)
        print(token)
    else:
        print(token, entry, sep="\n")


def _add(path: Path, name: str, entry: str) -> None:
    """Append a line to a token file, which must be right before and after."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE)
        with os.fdopen(file, "ab") as out:
            fcntl.flock(out, fcntl.LOCK_EX)  # another one may be adding a line
            before = token_file.read(path)
            _check_new(path, before, name)
            if before and not before.endswith(b"\n"):
                entry = f"\n{entry}"
            data = f"{entry}\n".encode()
            parse(before + data, str(path))
            out.write(data)
    except OSError as error:
        raise StartupError(f"{path} cannot be written: {error.strerror}") from None


def _check_new(path: Path, content: bytes, name: str) -> None:
    for number, text in enumerate(content.splitlines(), start=1):
        if text.split()[:1] == [name.encode()]:
            raise StartupError(
                f"{path}, line {number}: the name {name} is there already: remove that line, or "
                f"choose another name, such as {name}-2"
            )
