"""Labelled images in one folder per class: what counts, and what is left out."""

import logging
from collections import Counter
from pathlib import Path

from training.data.files import SUFFIXES, FileDataset
from training.errors import DatasetError

# Names of classes, or of what is left out, that a line of the log lists.
NAMED = 10

logger = logging.getLogger(__name__)


def open_folders(root: Path) -> FileDataset | None:
    """Open the folders in `root`, each of which is a class, in order of name.

    Hidden folders are no classes. Hidden files, files with another suffix and folders in a class
    are left out, as the log says; a class may have no images.

    Returns:
        None if there is no image in any folder.

    Raises:
        DatasetError: a name is not UTF-8.
    """
    left_out: Counter[str] = Counter()
    classes = sorted(path for path in root.iterdir() if path.is_dir())
    hidden = [path.name for path in classes if path.name.startswith(".")]
    classes = [path for path in classes if path.name not in hidden]
    left_out.update({"hidden folders": len(hidden)})
    found = [(file, i) for i, folder in enumerate(classes) for file in _images(folder, left_out)]
    if not found:
        return None
    for path in (*classes, *(file for file, _ in found)):
        _check_name(path)
    dataset = FileDataset.of_files(
        root.resolve(),
        [file for file, _ in found],
        [i for _, i in found],
        [folder.name for folder in classes],
    )
    _log_what_is_missing(root, dataset, left_out)
    return dataset


def _images(folder: Path, left_out: Counter[str]) -> list[Path]:
    images = []
    for path in folder.iterdir():
        if path.name.startswith("."):
            left_out["hidden files"] += 1
        elif path.is_dir():
            left_out["folders within a class"] += 1
        elif path.suffix.lower() in SUFFIXES:
            images.append(path)
        else:
            left_out[f"files {path.suffix}" if path.suffix else "files without a suffix"] += 1
    return sorted(images)


def _check_name(path: Path) -> None:
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise DatasetError(
            f"{str(path).encode(errors='backslashreplace').decode()}: its name is not UTF-8; "
            f"rename it"
        ) from error


def _log_what_is_missing(root: Path, dataset: FileDataset, left_out: Counter[str]) -> None:
    images = Counter(dataset.labels)
    if empty := [name for i, name in enumerate(dataset.class_names) if not images[i]]:
        logger.warning("%s: no images of %s", root, listed(empty))
    if what := [f"{count} {name}" for name, count in left_out.most_common() if count]:
        suffixes = ", ".join(SUFFIXES)
        logger.warning("%s: left out: %s; read are %s", root, listed(what), suffixes)


def listed(names: list[str]) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
