"""What a user sees on stderr while an export runs."""

import logging
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import Progress

from images.transform import Pixels

CONSOLE = Console(stderr=True)


def log_to_stderr() -> None:
    """Show one line per step."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


def progress(batches: Iterable[Pixels], images: int, what: str) -> Iterator[Pixels]:
    """Yield the batches; on a terminal draw a bar that counts images."""
    with Progress(console=CONSOLE, transient=True, disable=not CONSOLE.is_terminal) as bar:
        task = bar.add_task(what, total=images)
        for batch in batches:
            yield batch
            bar.advance(task, len(batch))
