"""Photos without classes: a flat folder, of which one part is compared and the other calibrates."""

import logging
from pathlib import Path

from training.data.dataset import Split
from training.data.datasets import FOLDER_NAMES
from training.data.files import SUFFIXES, FileDataset

# Of a folder that is not divided: so both parts hold photos of each day, camera and subject.
PARTS: dict[Split, int] = {"test": 0, "train": 1}

logger = logging.getLogger(__name__)


def open_photos(folder: Path, split: Split) -> FileDataset | None:
    """Open the photos of one part of a folder; their dataset names no classes, and no labels.

    The part is the folder `train`, or `val` or `test`. Where there is none it is every second
    photo, in order of name: from the first on for `test`, from the second on for `train`.

    Returns:
        None if there are folders, which may be classes, beside the photos, or no photos.
    """
    part = next((folder / n for n in FOLDER_NAMES[split] if (folder / n).is_dir()), None)
    root = part or folder
    if not root.is_dir():
        return None
    inside = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    files = [path for path in inside if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not files or any(path.is_dir() for path in inside):
        return None
    if ignored := len(inside) - len(files):
        logger.warning("%s: %d files are left out, read are %s", root, ignored, ", ".join(SUFFIXES))
    if part is None:
        logger.info(
            "%s: %d photos without classes; every second is compared, the others may calibrate",
            root, len(files),
        )  # fmt: skip
        files = files[PARTS[split] :: 2]
    return FileDataset.of_files(root.resolve(), files, [], [])
