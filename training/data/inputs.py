"""The datasets of a run, checked against its settings."""

import logging

from training.data.datasets import Dataset, beside, open_dataset
from training.errors import DatasetError
from training.settings.config import TrainConfig

log = logging.getLogger(__name__)


def training_set(config: TrainConfig) -> Dataset:
    """Return the training images; raise DatasetError where num_classes is another."""
    dataset = open_dataset(config.data_dir, "train")
    found = len(dataset.class_names)
    if found != config.num_classes:
        raise DatasetError(
            f"num_classes={config.num_classes}, but {config.data_dir} has {found} classes; "
            f"say --num_classes {found}"
        )
    return dataset


def test_set(config: TrainConfig, training_set: Dataset) -> Dataset:
    """Return the test images; raise DatasetError where they are the training images, or others."""
    data_dir = config.eval_data_dir or beside(config.data_dir)
    dataset = open_dataset(data_dir, "test")
    log.info(f"tested on {len(dataset)} images of {dataset.source}")
    if dataset.source == training_set.source:
        raise DatasetError(
            f"the test images would be the training images, all of {dataset.source}; say where "
            f"others are, --eval_data_dir, or --run_eval 0 to train without evaluation"
        )
    if dataset.class_names != training_set.class_names:
        raise DatasetError(
            f"the test images in {data_dir} have the classes {', '.join(dataset.class_names)}, "
            f"the training images {', '.join(training_set.class_names)}"
        )
    return dataset
