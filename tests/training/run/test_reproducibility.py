"""What a run's losses depend on: the seed, and neither threads nor evaluations."""

import mindspore
import pytest
from mindspore import Tensor

from training.data.batches import TrainingData
from training.data.datasets import Dataset
from training.evaluation import Evaluator
from training.resnext import build
from training.schedules import learning_rates
from training.settings.train_config import TrainConfig
from training.step import TrainingStep

STEPS, BATCH, EVALUATE_EVERY = 100, 16, 30


def first_losses(dataset: Dataset, config: TrainConfig, *, evaluate: bool) -> list[float]:
    mindspore.set_seed(config.seed)
    net = build(config.architecture, config.num_classes).set_train()
    step = TrainingStep(net, learning_rates(config, STEPS), config)
    evaluator = Evaluator(net, dataset, config.transform, config.normalization, 32, config)
    losses = []
    for number, (images, labels) in enumerate(TrainingData(dataset, config).epoch(0)):
        losses.append(float(step(Tensor(images), Tensor(labels))[0]))
        if evaluate and number % EVALUATE_EVERY == 0:
            evaluator.evaluate()
    return losses


@pytest.mark.slow
def test_the_same_seed_gives_the_same_losses_whatever_else_is_done(test_set: Dataset) -> None:
    changes = {"per_batch_size": BATCH, "train_images": STEPS * BATCH, "shift": 2}
    config = TrainConfig(recipe="smoke", eval_images=64, **changes)
    plain = first_losses(test_set, config.model_copy(update={"num_workers": 1}), evaluate=False)
    busy = first_losses(test_set, config.model_copy(update={"num_workers": 3}), evaluate=True)
    assert plain == busy
    assert len(set(plain)) > STEPS / 2
