"""The bare step that ours is compared with does the same work."""

import training  # noqa: F401  # isort: skip  # sets what mindspore must find in the environment
import mindspore
import numpy as np
from mindspore import Tensor, nn

from benchmarks.bare_training import Step, same_work
from training.distributed import use_device
from training.resnext import build
from training.settings.train_config import TrainConfig
from training.step import TrainingStep

CONFIG = TrainConfig(recipe="smoke")
RATES = np.array([0.1, 0.05, 0.02, 0.01], np.float32)
CHANCE = np.random.default_rng(0)
IMAGES = CHANCE.normal(size=(4, 3, *CONFIG.image_size)).astype(np.float32)
LABELS = CHANCE.integers(CONFIG.classes, size=4).astype(np.int32)


def network() -> nn.Cell:
    mindspore.set_seed(1)
    return build(CONFIG.architecture, CONFIG.classes).set_train()


def trained(net: nn.Cell, step: Step | TrainingStep) -> dict[str, np.ndarray]:
    for _ in RATES[1:]:
        step(Tensor(IMAGES), Tensor(LABELS))
    return {parameter.name: parameter.asnumpy() for parameter in net.get_parameters()}


def test_the_bare_step_computes_what_ours_does() -> None:
    use_device("CPU")
    ours, bare = network(), network()
    expected = trained(ours, TrainingStep(ours, RATES, CONFIG))
    for name, value in trained(bare, same_work(bare, RATES, CONFIG)).items():
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-6, err_msg=name)
