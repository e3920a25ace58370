"""Batches: what they hold, and what they do not depend on."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from export.contract.manifest import Normalization
from tests.training.test_datasets import image_folder
from training.config import TrainConfig
from training.data import TrainingData, normalize
from training.datasets import Dataset, open_dataset
from training.errors import DatasetError


def config(**changes: object) -> TrainConfig:
    return TrainConfig.model_validate(
        TrainConfig(recipe="smoke").model_dump() | {"train_images": 60, "shift": 2} | changes
    )


def first_epoch(dataset: Dataset, settings: TrainConfig, epoch: int = 0) -> np.ndarray:
    return np.concatenate([images for images, _ in TrainingData(dataset, settings).epoch(epoch)])


def test_normalisation_is_per_channel_and_puts_channels_first() -> None:
    pixels = np.zeros((1, 2, 4, 3), np.uint8)
    pixels[0, 0, 3] = (10, 20, 30)
    images = normalize(pixels, Normalization(mean=(10, 10, 10), std=(1, 2, 4)))
    assert (images.shape, images.dtype) == ((1, 3, 2, 4), np.float32)
    np.testing.assert_array_equal(images[0, :, 0, 3], [0, 5, 5])
    np.testing.assert_array_equal(images[0, :, 1, 1], [-10, -5, -2.5])


def test_augmentation_does_not_depend_on_the_batch_size(test_set: Dataset) -> None:
    whole = first_epoch(test_set, config(per_batch_size=60))
    parts = first_epoch(test_set, config(per_batch_size=20))
    np.testing.assert_array_equal(whole, parts)


def test_epochs_and_seeds_differ(test_set: Dataset) -> None:
    settings = config(per_batch_size=60)
    again, other_epoch = first_epoch(test_set, settings), first_epoch(test_set, settings, 1)
    other_seed = first_epoch(test_set, config(per_batch_size=60, seed=2))
    np.testing.assert_array_equal(first_epoch(test_set, settings), again)
    assert (other_epoch != again).any()
    assert (other_seed != again).any()


def test_labels_follow_their_images(test_set: Dataset) -> None:
    settings = config(per_batch_size=30, shift=0)
    plain = {test_set.rgb(i).sum(dtype=int): test_set.label(i) for i in range(60)}
    scale, mean = settings.std[0], settings.mean[0]
    for images, labels in TrainingData(test_set, settings).epoch(0):
        sums = (images * scale + mean).round().sum(axis=(1, 2, 3)).astype(int)
        assert [plain[total] for total in sums] == labels.tolist()


def test_a_partial_batch_is_left_out_and_none_at_all_is_an_error(test_set: Dataset) -> None:
    data = TrainingData(test_set, config(per_batch_size=25))
    assert data.steps_per_epoch == len(list(data.epoch(0))) == 2
    with pytest.raises(DatasetError, match="60 images do not fill one batch of 64"):
        TrainingData(test_set, config(per_batch_size=64))


def test_photographs_do_not_depend_on_the_worker_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset(image_folder(tmp_path, list("abcdefgh")), "train")
    settings = config(augmentation="random_resized_crop", per_batch_size=12, train_images=36)
    several = first_epoch(dataset, settings)
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {0})
    np.testing.assert_array_equal(first_epoch(dataset, settings), several)
    assert len(np.unique(several)) > len(dataset.class_names)


def test_images_are_shuffled(test_set: Dataset) -> None:
    _, labels = next(islice(TrainingData(test_set, config(per_batch_size=60)).epoch(0), 1))
    in_order = [test_set.label(i) for i in range(60)]
    assert labels.tolist() != in_order
    assert sorted(labels.tolist()) == sorted(in_order)
