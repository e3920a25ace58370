"""One training step of a linear classifier against numpy, and what overflow does."""

import mindspore
import numpy as np
import pytest
from mindspore import Tensor, nn
from numpy.typing import NDArray

from training.errors import CheckpointError
from training.run.report import EpochHistory
from training.settings.train_config import TrainConfig
from training.step import TrainingStep

CLASSES, FEATURES, BATCH = 4, 3, 5
CHANCE = np.random.default_rng(1)
IMAGES = CHANCE.normal(size=(BATCH, FEATURES)).astype(np.float32)
LABELS = CHANCE.integers(0, CLASSES, BATCH).astype(np.int32)
RATES = np.array([0.5, 0.25, 0.125], np.float32)
Weights = tuple[NDArray[np.float64], NDArray[np.float64]]


def make(
    class_weights: NDArray[np.float32] | None = None, **settings: object
) -> tuple[nn.Cell, TrainingStep]:
    mindspore.set_seed(1)  # some weights lose nothing in float16
    net = nn.Dense(FEATURES, CLASSES)
    config = TrainConfig(num_classes=CLASSES, **settings)
    return net, TrainingStep(net, RATES, config, class_weights)


def call(
    step: TrainingStep, scale: float = 1.0, labels: NDArray[np.generic] = LABELS
) -> tuple[float, bool]:
    loss, finite = step(Tensor(IMAGES * np.float32(scale)), Tensor(labels))
    return float(loss), bool(finite)


def weights(net: nn.Cell) -> Weights:
    return net.weight.asnumpy().astype(np.float64), net.bias.asnumpy().astype(np.float64)


def smoothed(labels: NDArray[np.int32]) -> NDArray[np.float64]:
    target = np.full((BATCH, CLASSES), 0.1 / (CLASSES - 1))
    target[np.arange(BATCH), labels] = 0.9
    return target


TARGET = smoothed(LABELS)


def loss_and_gradients(
    weight: NDArray[np.float64], bias: NDArray[np.float64], target: NDArray[np.float64] = TARGET
) -> tuple[float, Weights]:
    logits = IMAGES @ weight.T + bias
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    loss = -(target * np.log(probabilities)).sum(axis=1).mean()
    error = (probabilities * target.sum(axis=1, keepdims=True) - target) / BATCH
    return loss, (error.T @ IMAGES, error.sum(axis=0))


@pytest.mark.parametrize("dynamic", [False, True])
def test_steps_are_those_of_numpy(*, dynamic: bool) -> None:
    net, step = make(weight_decay=0.1, momentum=0.9, is_dynamic_loss_scale=dynamic)
    weight, bias = weights(net)
    moments = [np.zeros_like(weight), np.zeros_like(bias)]
    for rate in RATES[:2]:
        loss, (by_weight, by_bias) = loss_and_gradients(weight, bias)
        assert call(step) == (pytest.approx(loss, rel=1e-5), True)
        assert step.rate == rate
        moments = [0.9 * moments[0] + by_weight + 0.1 * weight, 0.9 * moments[1] + by_bias]
        weight, bias = weight - rate * moments[0], bias - rate * moments[1]
        np.testing.assert_allclose(weights(net)[0], weight, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(weights(net)[1], bias, rtol=1e-4, atol=1e-6)
    assert step.scale == (65536 if dynamic else 1024)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_step_on_mixed_images_of_weighted_classes_is_that_of_numpy(*, weighted: bool) -> None:
    shares, others = CHANCE.beta(1, 1, (BATCH, 1)), LABELS[::-1]
    mixed = shares * np.eye(CLASSES)[LABELS] + (1 - shares) * np.eye(CLASSES)[others]
    target = shares * smoothed(LABELS) + (1 - shares) * smoothed(others)
    class_weights = np.array([0.5, 1, 2, 4], np.float32) if weighted else None
    net, step = make(class_weights, weight_decay=0.0, momentum=0.0)
    if class_weights is not None:
        target = target * class_weights
    weight, bias = weights(net)
    loss, (by_weight, by_bias) = loss_and_gradients(weight, bias, target)
    assert call(step, labels=mixed.astype(np.float32)) == (pytest.approx(loss, rel=1e-5), True)
    np.testing.assert_allclose(weights(net)[0], weight - 0.5 * by_weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(weights(net)[1], bias - 0.5 * by_bias, rtol=1e-4, atol=1e-6)


def test_a_step_that_overflows_is_skipped_and_counted() -> None:
    net, step = make(loss_scale=3e38)
    before, history = weights(net), EpochHistory()
    # The images are so large that the scaled gradients are not finite; the loss is.
    for scale in (100, 1e-3):
        loss, finite = step(Tensor(IMAGES * np.float32(scale)), Tensor(LABELS))
        history.add(loss, finite)
        if history.skipped_steps:
            assert np.isfinite(history.latest_loss)
    assert history.skipped_steps == 1
    assert history.mean_loss() == history.latest_loss
    assert step.rate == RATES[0]
    assert not np.array_equal(before[0], weights(net)[0])


def test_nothing_changes_in_a_skipped_step() -> None:
    net, step = make(loss_scale=3e38)
    before, state = weights(net), step.state()
    assert call(step, 100)[1] is False
    for now, then in zip(weights(net), before, strict=True):
        np.testing.assert_array_equal(now, then)
    for name, value in step.state().items():
        np.testing.assert_array_equal(value, state[name])


def restored(scale: float, counter: int) -> TrainingStep:
    _, step = make(is_dynamic_loss_scale=True)
    changed = {"loss_scale": np.float32(scale), "loss_scale_counter": np.int32(counter)}
    step.restore(step.state() | changed)
    return step


def test_overflow_halves_the_dynamic_scale() -> None:
    step = restored(2.0**127, 5)
    assert call(step, 100)[1] is False
    assert (step.scale, step.state()["loss_scale_counter"]) == (2.0**126, 0)


def test_2000_good_steps_double_the_dynamic_scale() -> None:
    step = restored(8, 1998)
    assert (call(step)[1], step.scale) == (True, 8)
    assert (call(step)[1], step.scale) == (True, 16)
    assert step.state()["loss_scale_counter"] == 0


def test_gradients_are_clipped_by_their_common_norm() -> None:
    net, step = make(clip_global_norm=0.01, weight_decay=0.0, momentum=0.0)
    weight, bias = weights(net)
    _, gradients = loss_and_gradients(weight, bias)
    norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients))
    assert norm > 0.01
    call(step)
    for now, then, gradient in zip(weights(net), (weight, bias), gradients, strict=True):
        np.testing.assert_allclose(then - now, 0.5 * 0.01 * gradient / norm, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("level", ["O1", "O2", "O3"])
def test_mixed_precision_computes_nearly_the_same_and_keeps_float32_weights(level: str) -> None:
    net, step = make(amp_level=level, weight_decay=0.0, momentum=0.0)
    weight, bias = weights(net)
    loss, (by_weight, _) = loss_and_gradients(weight, bias)
    found, finite = call(step)
    assert finite
    assert found != pytest.approx(loss, rel=1e-6)
    assert found == pytest.approx(loss, rel=2e-3)
    assert net.weight.asnumpy().dtype == np.float32
    np.testing.assert_allclose(weights(net)[0], weight - 0.5 * by_weight, rtol=5e-3, atol=5e-4)


def test_a_static_scale_is_a_setting_and_no_state() -> None:
    state = make(loss_scale=512)[1].state()
    assert "loss_scale" not in state
    _, step = make(loss_scale=256)
    step.restore(state | {"loss_scale": np.float32(512)})  # as older checkpoints hold it
    assert step.scale == 256


def test_a_state_that_does_not_fit_is_refused() -> None:
    state = make(is_dynamic_loss_scale=True)[1].state()
    with pytest.raises(CheckpointError, match="left over: loss_scale_counter"):
        make()[1].restore(state)
    state.pop("moments.weight")
    state["global_step"] = np.ones(1, np.float32)
    with pytest.raises(CheckpointError, match=r"missing: moments.weight.*holds float32, not integ"):
        make(is_dynamic_loss_scale=True)[1].restore(state)
