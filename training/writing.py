"""Writing the files of a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.errors import OutputError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise OutputError where the file cannot be written, as when the disk is full."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; make room there, or say where there "
            f"is some, --ckpt_path in training, --report_path in evaluation; "
            f"earlier checkpoints are as they were"
        ) from error


def replace_text(path: Path, text: str) -> None:
    """Write a file that is whole or as it was, whenever the process is killed; raise OSError."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.replace(path)
