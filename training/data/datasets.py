"""Opens labelled images: IDX files, one folder per class, tars, or MindRecord files."""

import logging
from pathlib import Path

from training.data.dataset import Dataset, Split
from training.data.folders import listed, open_folders
from training.data.idx import IDX_PREFIX, open_idx
from training.data.shards import named_shards, open_shards, shards_in
from training.errors import DatasetError

FOLDER_NAMES = {"train": ("train",), "test": ("val", "test")}

logger = logging.getLogger(__name__)


def open_dataset(data_dir: Path, split: Split) -> Dataset:
    """Open shards that are named, else IDX files, folders of images, or shards in the folder.

    Raises DatasetError naming what was looked for.
    """
    if shards := named_shards(data_dir):
        return open_shards(data_dir, shards)
    if not data_dir.is_dir():
        raise DatasetError(f"no folder or file {data_dir}. {_hint(split)}")
    found = open_idx(data_dir, split)
    if found is not None:
        logger.info("%s: %d images of %d classes", found.source, len(found), len(found.class_names))
        return found
    names = (data_dir / name for name in FOLDER_NAMES[split])
    root = next((folder for folder in names if folder.is_dir()), data_dir)
    folders = open_folders(root)
    if folders is not None:
        return folders
    if shards := shards_in(root):
        return open_shards(root, shards)
    raise DatasetError(f"no images in {root}. {_hint(split)}")


def log_contents(dataset: Dataset) -> None:
    """Log how many images of which classes there are."""
    classes = listed(dataset.class_names)
    count, kinds = len(dataset), len(dataset.class_names)
    logger.info("%s: %d images of %d classes: %s", dataset.source, count, kinds, classes)


def beside(data_dir: Path) -> Path:
    """Return the folder val/ beside a folder train/, ImageNet's layout; else the folder itself."""
    val = data_dir.parent / "val"
    return val if data_dir.name == "train" and val.is_dir() else data_dir


def _hint(split: Split) -> str:
    return (
        f"Looked for {IDX_PREFIX[split]}-images-idx3-ubyte[.gz] (Fashion-MNIST is the Debian "
        "package dataset-fashion-mnist), for one folder of images per class, and for tars or "
        "MindRecord files"
    )
