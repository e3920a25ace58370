"""`python -m serving`: what `serving.commands` does, and signals that come before it can."""

import os
import signal
import sys


def main() -> int:
    """Return the exit code of a command; that of a server is 0 if a signal ends its start."""
    words = sys.argv[1:]
    # The other commands are words, and end on a signal as all programs here do.
    if not words or words[0].startswith("-"):
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, _end)  # until `lifecycle.stop_on_signals`
    # Only now: it takes a while to import, in which the first process of a container would ignore
    # SIGTERM.
    from serving.commands import main as run

    return run()


def _end(*_: object) -> None:
    os._exit(0)  # nothing has begun that must be brought to an end


if __name__ == "__main__":
    sys.exit(main())
