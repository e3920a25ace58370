"""Batches: what they hold, and what they do not depend on."""

from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from bundle.manifest import Normalization
from tests.training.data.test_datasets import image_folder
from training.data.batches import TrainingData, normalize, share_of_each_class
from training.data.batches import labels as all_labels
from training.data.dataset import Dataset
from training.data.datasets import open_dataset
from training.errors import BrokenImageError, DatasetError
from training.settings.train_config import TrainConfig


def config(**changes: object) -> TrainConfig:
    return TrainConfig.model_validate(
        TrainConfig(recipe="smoke").model_dump()
        | {"train_images": 60, "shift": 2, "num_workers": 0}
        | changes
    )


def first_epoch(dataset: Dataset, settings: TrainConfig, epoch: int = 0) -> np.ndarray:
    return np.concatenate([images for images, _ in TrainingData(dataset, settings).epoch(epoch)])


# One setting of each augmentation that is off unless set.
EVERY: dict[str, object] = {
    "randaugment": (2, 9),
    "random_erasing": 0.5,
    "mixup": 0.8,
    "cutmix": 1.0,
}


def batches(
    dataset: Dataset, settings: TrainConfig, epoch: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    images, targets = zip(*TrainingData(dataset, settings).epoch(epoch), strict=True)
    return np.concatenate(images), np.concatenate(targets)


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
    plain = {test_set.rgb(i).sum(dtype=int): test_set.label(i) for i in range(200)}
    scale, mean = settings.std[0], settings.mean[0]
    for images, labels in TrainingData(test_set, settings).epoch(0):
        sums = (images * scale + mean).round().sum(axis=(1, 2, 3)).astype(int)
        assert [plain[total] for total in sums] == labels.tolist()


def test_a_partial_batch_is_left_out_and_none_at_all_is_an_error(test_set: Dataset) -> None:
    data = TrainingData(test_set, config(per_batch_size=25))
    assert data.steps_per_epoch == len(list(data.epoch(0))) == 2
    with pytest.raises(DatasetError, match="60 images do not fill one batch of 64"):
        TrainingData(test_set, config(per_batch_size=64))


@pytest.mark.parametrize("augmentation", ["random_resized_crop", "shift"])
def test_no_augmentation_depends_on_processes_batches_or_a_resumed_step(
    test_set: Dataset, augmentation: Literal["shift"]
) -> None:
    kinds = {"augmentation": augmentation, **EVERY}
    images, targets = batches(test_set, config(**kinds, per_batch_size=60))
    assert (targets.shape, targets.dtype) == ((60, 10), np.float32)
    found = batches(test_set, config(**kinds, per_batch_size=20))
    np.testing.assert_array_equal(found[0], images)
    np.testing.assert_array_equal(found[1], targets)
    group = {"per_batch_size": 10, "is_distributed": True, "group_size": 2}
    for rank in (0, 1):
        resumed = TrainingData(test_set, config(**kinds, **group, rank=rank)).epoch(1, 2)
        [(own, shares)] = resumed
        start = 40 + 10 * rank
        np.testing.assert_array_equal(own, images[start : start + 10])
        np.testing.assert_array_equal(shares, targets[start : start + 10])


def test_mixing_ends_after_the_epochs_that_are_set(test_set: Dataset) -> None:
    mixed = config(per_batch_size=60, mixup=1.0, cutmix=1.0, mixup_off_epoch=1)
    first, second = (batches(test_set, mixed, epoch) for epoch in (0, 1))
    assert ((first[1] > 0) & (first[1] < 1)).any()
    images, labels = next(TrainingData(test_set, config(per_batch_size=60)).epoch(1))
    np.testing.assert_array_equal(second[0], images)
    np.testing.assert_array_equal(second[1], np.eye(10)[labels])


def test_mixed_images_are_those_of_their_shares(test_set: Dataset) -> None:
    images, shares = batches(test_set, config(per_batch_size=60, mixup=1.0))
    plain, labels = next(TrainingData(test_set, config(per_batch_size=60)).epoch(1))
    neighbours = np.arange(60).reshape(30, 2)[:, ::-1].ravel()
    for image, share, own, other in zip(images, shares, range(60), neighbours, strict=True):
        kept = share[labels[own]] if labels[own] != labels[other] else None
        if kept is not None:
            wanted = kept * plain[own] + (1 - kept) * plain[other]
            np.testing.assert_allclose(image, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("kinds", [{}, EVERY])
@pytest.mark.parametrize("augmentation", ["random_resized_crop", "shift"])
def test_images_do_not_depend_on_the_number_of_workers(
    tmp_path: Path, augmentation: Literal["shift"], kinds: dict[str, object]
) -> None:
    dataset = open_dataset(image_folder(tmp_path, list("abcdefgh")), "train")
    settings = {"augmentation": augmentation, "per_batch_size": 12, "train_images": 36, **kinds}
    none, two = (first_epoch(dataset, config(**settings, num_workers=n)) for n in (0, 2))
    np.testing.assert_array_equal(none, two)
    assert len(np.unique(two)) >= len(dataset.class_names)


def test_the_processes_of_a_group_share_each_step(test_set: Dataset) -> None:
    alone = first_epoch(test_set, config(per_batch_size=20))
    group = {"per_batch_size": 10, "is_distributed": True, "group_size": 2}
    first, second = (first_epoch(test_set, config(**group, rank=rank)) for rank in (0, 1))
    for step in range(3):
        own = slice(step * 10, step * 10 + 10)
        both = np.concatenate([first[own], second[own]])
        np.testing.assert_array_equal(both, alone[step * 20 : step * 20 + 20])


def test_an_epoch_goes_on_from_any_step(test_set: Dataset) -> None:
    data = TrainingData(test_set, config(per_batch_size=20))
    *_, last = data.epoch(1)
    [resumed] = data.epoch(1, first_step=2)
    np.testing.assert_array_equal(resumed[0], last[0])


@pytest.mark.parametrize(
    ("augmentation", "count"),
    [("random_resized_crop", 0), ("random_resized_crop", 1), ("shift", 0)],
)
def test_a_broken_image_ends_the_epoch_or_the_next_one_stands_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, augmentation: Literal["shift"], count: int
) -> None:
    broken = image_folder(tmp_path, ["ant", "bee", "cat"]) / "bee/0.png"
    broken.write_bytes(b"no image")
    dataset = open_dataset(tmp_path, "train")
    settings = config(
        augmentation=augmentation, per_batch_size=6, train_images=6, num_workers=count
    )
    with pytest.raises(BrokenImageError, match=r"bee/0.png is not a readable image"):
        first_epoch(dataset, settings)
    skipping = settings.model_copy(update={"on_broken_image": "skip"})
    [(images, labels)] = TrainingData(dataset, skipping).epoch(0)
    assert np.bincount(labels).tolist() == [1, 2, 3]
    assert np.isfinite(images).all()
    assert f"skipped: {broken} is not a readable image" in caplog.text


def test_no_readable_image_at_all_is_an_error(tmp_path: Path) -> None:
    (image_folder(tmp_path, ["ant"]) / "ant/0.png").write_bytes(b"no image")
    settings = config(per_batch_size=1, train_images=1, on_broken_image="skip")
    with pytest.raises(DatasetError, match="none of the 1 training images is readable"):
        first_epoch(open_dataset(tmp_path, "train"), settings)


def test_images_are_shuffled(test_set: Dataset) -> None:
    _, labels = next(islice(TrainingData(test_set, config(per_batch_size=60)).epoch(0), 1))
    every = all_labels(test_set)
    in_order = every[share_of_each_class(every, 60)].tolist()
    assert labels.tolist() != in_order
    assert sorted(labels.tolist()) == sorted(in_order) == [i // 6 for i in range(60)]


def test_a_part_of_the_images_has_the_same_share_of_each_class() -> None:
    classes = np.array([0] * 50 + [1] * 30 + [2] * 20, np.int32)
    np.testing.assert_array_equal(share_of_each_class(classes, None), np.arange(100))
    np.testing.assert_array_equal(share_of_each_class(classes, 200), np.arange(100))
    chosen = share_of_each_class(classes, 10)
    np.testing.assert_array_equal(chosen, [0, 1, 2, 3, 4, 50, 51, 52, 80, 81])
    assert np.bincount(classes[share_of_each_class(classes, 11)]).sum() == 11
    np.testing.assert_array_equal(share_of_each_class(classes, 1), [0])


# The side and the shift of the first five epochs are SIDES and SHIFTS, in pixels.
GROWING = {
    "max_epoch": 5,
    "shift": 3,
    "progressive_scales": (0.5, 0.7),
    "progressive_epochs": (1, 3),
    "per_batch_size": 60,
}
SIDES, SHIFTS = (14, 20, 20, 28, 28), (2, 2, 2, 3, 3)


def test_an_epoch_of_small_images_is_that_of_a_run_with_small_images(test_set: Dataset) -> None:
    data = TrainingData(test_set, config(**GROWING))
    for epoch, (side, shift) in enumerate(zip(SIDES, SHIFTS, strict=True)):
        images, labels = next(data.epoch(epoch))
        assert images.shape == (60, 3, side, side)
        size = {"image_size": (side, side), "eval_resize": (side, side)}
        small = TrainingData(test_set, config(per_batch_size=60, shift=shift, **size))
        expected, same_labels = next(small.epoch(epoch))
        np.testing.assert_array_equal(labels, same_labels)
        np.testing.assert_array_equal(images, expected)


def test_photographs_are_cropped_and_then_reduced(test_set: Dataset) -> None:
    photographs: dict[str, object] = {"augmentation": "random_resized_crop"}
    data = TrainingData(test_set, config(**GROWING, **photographs))
    whole = TrainingData(test_set, config(per_batch_size=60, **photographs))
    for epoch, side in enumerate(SIDES):
        images, labels = next(data.epoch(epoch))
        expected, same_labels = next(whole.epoch(epoch))
        np.testing.assert_array_equal(labels, same_labels)
        np.testing.assert_array_equal(images, reduced_by_pillow(expected, side, side))


def reduced_by_pillow(images: np.ndarray, height: int, width: int) -> np.ndarray:
    settings = config()
    pixels = (images.transpose(0, 2, 3, 1) * settings.std + settings.mean).round().astype(np.uint8)
    size, bilinear = (width, height), Image.Resampling.BILINEAR
    smaller = [np.asarray(Image.fromarray(image).resize(size, bilinear)) for image in pixels]
    return normalize(np.stack(smaller), settings.normalization)
