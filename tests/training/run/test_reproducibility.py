"""What a run's losses depend on: the seed, and neither processes nor evaluations."""

import mindspore
import numpy as np
import pytest
from mindspore import Tensor
from PIL import Image

from training.data.batches import TrainingData
from training.data.dataset import Dataset
from training.data.datasets import open_dataset
from training.evaluation import Evaluator
from training.resnext import build
from training.schedules import learning_rates
from training.settings.train_config import TrainConfig
from training.step import TrainingStep

STEPS, BATCH, EVALUATE_EVERY = 100, 16, 30


def first_losses(dataset: Dataset, config: TrainConfig, *, evaluate: bool = False) -> list[float]:
    mindspore.set_seed(config.seed)
    net = build(config.architecture, config.classes).set_train()
    step = TrainingStep(net, learning_rates(config, STEPS), config)
    evaluator = Evaluator(net, dataset, config.transform, config.normalization, 32, config)
    data, losses = TrainingData(dataset, config), []
    for epoch in range(STEPS // data.steps_per_epoch):
        for images, labels in data.epoch(epoch):
            losses.append(float(step(Tensor(images), Tensor(labels))[0]))
            if evaluate and len(losses) % EVALUATE_EVERY == 0:
                evaluator.evaluate()
    assert len(losses) == STEPS
    assert len(set(losses)) > STEPS / 2
    return losses


@pytest.mark.slow
def test_the_same_seed_gives_the_same_losses_whatever_else_is_done(test_set: Dataset) -> None:
    changes = {"per_batch_size": BATCH, "train_images": STEPS * BATCH, "shift": 2}
    config = TrainConfig(recipe="smoke", eval_images=64, **changes)
    assert first_losses(test_set, config) == first_losses(test_set, config, evaluate=True)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """80 JPEG files of 10 classes."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(1)
    for number in range(80):
        folder = root / str(number % 10)
        folder.mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (5, 6, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
    return open_dataset(root, "train")


@pytest.mark.slow
def test_photos_give_the_same_losses_with_any_number_of_processes(photos: Dataset) -> None:
    changes = {"augmentation": "random_resized_crop", "per_batch_size": 8, "train_images": None}
    config = TrainConfig(recipe="smoke", eval_images=20, **changes)
    runs = [
        first_losses(photos, config.model_copy(update={"num_workers": n}), evaluate=n == 2)
        for n in range(4)
    ]
    assert runs[1:] == runs[:1] * 3
