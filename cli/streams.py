"""Standard input, output and error, as a program is started with them: closed, full, or left."""

import os
import select
import sys


def open_closed() -> None:
    """Open the null device in place of each standard file that was closed before the start.

    Otherwise the next file or socket gets its number, and what is meant for standard error. Python
    has None for it, and prints to standard output what is meant for a standard error that is None.
    """
    while (file := os.open(os.devnull, os.O_RDWR)) <= 2:  # the lowest number that is free
        pass
    if sys.stdout and sys.stderr:
        os.close(file)
        return
    nothing = os.fdopen(file, "w", closefd=False)
    sys.stdout, sys.stderr = sys.stdout or nothing, sys.stderr or nothing


def has_no_reader() -> bool:
    """Whether the reader of standard output has left, and not that of another pipe."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # errors are reported without being asked for
    return bool(poll.poll(0))


def drop_output() -> None:
    """Drop what standard output still holds: Python would fail again when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
