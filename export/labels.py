"""Class labels from a text file."""

from pathlib import Path

from export.errors import ExportError


def read_labels(path: Path) -> list[str]:
    """Return the lines of a text file; raise `ExportError` where it has none, or an empty one."""
    try:
        labels = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"--labels {path} cannot be read: {error}") from error
    if not labels or not all(label.strip() for label in labels):
        raise ExportError(f"--labels {path} must have one label per line, and no empty line")
    return labels
