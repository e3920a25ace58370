"""Where the log goes: plain lines on stdout, or around the progress bar of a terminal."""

import logging

from rich.console import Console
from rich.logging import RichHandler

CONSOLE = Console()
FORMAT = "%(asctime)s:%(levelname)s:%(message)s"


def log_to_stdout() -> None:
    """Write messages from INFO on to stdout."""
    if CONSOLE.is_terminal:
        handler = RichHandler(console=CONSOLE, show_path=False)
        logging.basicConfig(level="INFO", format="%(message)s", handlers=[handler])
    else:
        logging.basicConfig(level="INFO", format=FORMAT, stream=CONSOLE.file)
