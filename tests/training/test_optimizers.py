"""Optimisers against numpy and PyTorch: their steps, and what is decayed, frozen or slower."""

import json
import subprocess

import mindspore
import numpy as np
import pytest
from mindspore import Tensor, nn
from numpy.typing import NDArray

from tests.support.paths import ROOT
from training.errors import ArchitectureError
from training.optimizers import freeze, optimizer
from training.resnext import build
from training.settings.train_config import TrainConfig

TORCH = ROOT / ".venv-torch/bin/python"
RATES = np.array([0.1, 0.05, 0.02], np.float32)
DECAY = 0.5
HEAD = ("head.fc.weight", "head.fc.bias")
# Of each parameter's three gradients, in multiples of a fixed one.
SIZES = (1.0, -3.0, 0.25)
Arrays = dict[str, NDArray[np.float64]]


def trained(steps: int = len(RATES), **settings: object) -> tuple[Arrays, Arrays, Arrays]:
    """Return parameters before and after some steps, and the gradients of the first."""
    mindspore.set_seed(1)
    net = build("tiny", 10)
    before = values(net)
    steps_of = optimizer(net, RATES, TrainConfig(weight_decay=DECAY, **settings))
    chance = np.random.default_rng(2)
    gradients = [chance.normal(size=p.shape).astype(np.float32) for p in steps_of.parameters]
    for size in SIZES[:steps]:
        steps_of(tuple(Tensor(gradient * np.float32(size)) for gradient in gradients))
    names = [p.name for p in steps_of.parameters]
    return before, values(net), dict(zip(names, gradients, strict=True))


def values(net: nn.Cell) -> Arrays:
    return {p.name: p.asnumpy().astype(np.float64) for p in net.trainable_params()}


@pytest.mark.parametrize(
    ("name", "decays"),
    [
        ("backbone.conv.weight", True),
        ("head.fc.weight", True),
        ("head.fc.bias", False),
        ("backbone.bn.gamma", False),
        ("backbone.layer1.0.bn3.beta", False),
    ],
)
@pytest.mark.parametrize("opt", ["momentum", "adamw"])
def test_weights_decay_and_biases_and_batch_norm_do_not(
    opt: str, name: str, *, decays: bool
) -> None:
    before, after, gradients = trained(steps=1, opt=opt)
    gradient = gradients[name] if opt == "momentum" else np.sign(gradients[name])
    expected = before[name] - 0.1 * (gradient + decays * DECAY * before[name])
    np.testing.assert_allclose(after[name], expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("nesterov", [False, True])
def test_later_steps_have_momentum(*, nesterov: bool) -> None:
    """As Sutskever et al. 2013 in PyTorch's form, on a parameter that is not decayed."""
    before, after, gradients = trained(opt="nesterov" if nesterov else "momentum", momentum=0.8)
    for name in ("head.fc.bias", "backbone.bn.gamma"):
        value, moment = before[name], 0.0
        for rate, size in zip(RATES, SIZES, strict=True):
            gradient = size * gradients[name]
            moment = 0.8 * moment + gradient
            value = value - rate * (gradient + 0.8 * moment if nesterov else moment)
        np.testing.assert_allclose(after[name], value, rtol=1e-5, atol=2e-6)


def test_adamw_is_that_of_the_paper() -> None:
    """Algorithm 2 of Loshchilov & Hutter 2019, in float64."""
    before, after, gradients = trained(opt="adamw")
    for name, gradient in gradients.items():
        decay = DECAY if name.endswith("weight") else 0.0
        value, first, second = before[name], 0.0, 0.0
        for step, (rate, size) in enumerate(zip(RATES, SIZES, strict=True), start=1):
            first = 0.9 * first + 0.1 * size * gradient
            second = 0.999 * second + 0.001 * (size * gradient) ** 2
            root = np.sqrt(second / (1 - 0.999**step)) + 1e-8
            value = value - rate * (first / (1 - 0.9**step) / root + decay * value)
        np.testing.assert_allclose(after[name], value, rtol=2e-5, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("opt", ["momentum", "nesterov", "adamw"])
def test_the_backbone_may_be_slower_than_the_head(opt: str) -> None:
    """A smaller rate is that of a whole schedule that is smaller, for each optimiser."""
    before, usual, _ = trained(steps=1, opt=opt)
    _, slow, _ = trained(steps=1, opt=opt, backbone_lr_factor=0.25)
    for name, value in before.items():
        factor = 1 if name in HEAD else 0.25
        np.testing.assert_allclose(
            slow[name] - value, factor * (usual[name] - value), rtol=1e-3, atol=1e-6, err_msg=name
        )


PROGRAM = """
import json, sys
import numpy, torch
task = json.load(sys.stdin)
kinds = {
    "momentum": lambda g: torch.optim.SGD(g, lr=1, momentum=0.9),
    "nesterov": lambda g: torch.optim.SGD(g, lr=1, momentum=0.9, nesterov=True),
    "adamw": lambda g: torch.optim.AdamW(g, lr=1),
}
answers = {}
for kind, make in kinds.items():
    parameters = {n: torch.nn.Parameter(torch.tensor(v)) for n, v in task["values"].items()}
    groups = [
        {"params": [p], "weight_decay": task["decay"] if n.endswith("weight") else 0.0}
        for n, p in parameters.items()
    ]
    optimizer = make(groups)
    for rate, size in zip(task["rates"], task["sizes"]):
        for group, (name, parameter) in zip(optimizer.param_groups, parameters.items()):
            group["lr"] = rate if name.startswith("head") else rate * task["factor"]
            parameter.grad = torch.tensor(task["gradients"][name]) * size
        optimizer.step()
    answers[kind] = {n: p.tolist() for n, p in parameters.items()}
print(json.dumps(answers))
"""


@pytest.mark.slow
def test_each_optimiser_is_that_of_pytorch() -> None:
    if not TORCH.exists():
        pytest.skip("there is no PyTorch: make .venv-torch/.torch")
    names = (*HEAD, "backbone.bn.gamma", "backbone.layer1.0.conv2.weight")
    found = {
        opt: trained(opt=opt, backbone_lr_factor=0.1) for opt in ("momentum", "nesterov", "adamw")
    }
    before, _, gradients = found["momentum"]
    task = {
        "values": {name: before[name].tolist() for name in names},
        "gradients": {name: gradients[name].tolist() for name in names},
        "rates": RATES.tolist(),
        "sizes": SIZES,
        "decay": DECAY,
        "factor": 0.1,
    }
    done = subprocess.run(
        [TORCH, "-c", PROGRAM], input=json.dumps(task), text=True, capture_output=True, check=True
    )
    for opt, expected in json.loads(done.stdout).items():
        for name, value in expected.items():
            np.testing.assert_allclose(
                found[opt][1][name], value, rtol=2e-5, atol=2e-6, err_msg=f"{opt} {name}"
            )


def test_a_frozen_part_is_not_trained_and_keeps_its_statistics() -> None:
    net = build("tiny", 10).set_train()
    parts = ("backbone.conv", "backbone.bn", "backbone.layer1")
    freeze(net, parts)
    left = {p.name for p in net.trainable_params()}
    assert left == {p.name for p in net.get_parameters() if p.requires_grad}
    assert {name.split(".")[1] for name in left} == {"layer2", "fc"}
    before = {p.name: p.asnumpy().copy() for p in net.get_parameters()}
    net(Tensor(np.random.default_rng(0).normal(1, 2, (4, 3, 28, 28)).astype(np.float32)))
    for parameter in net.get_parameters():
        moved = ".layer2." in parameter.name and "moving_" in parameter.name
        same = np.array_equal(parameter.asnumpy(), before[parameter.name])
        assert same is not moved, parameter.name


def test_gradients_pass_through_a_frozen_batch_norm_as_through_a_fixed_scale() -> None:
    net = build("tiny", 10).set_train()
    freeze(net, ["backbone.layer1", "backbone.layer2", "head"])
    bn = net.backbone.layer1[0].bn1
    bn.moving_variance.set_data(Tensor(np.linspace(0.5, 2, bn.gamma.size).astype(np.float32)))
    x = Tensor(np.random.default_rng(0).normal(size=(2, bn.gamma.size, 3, 3)).astype(np.float32))
    found = mindspore.grad(lambda images: (bn(images) * 3).sum())(x).asnumpy()
    expected = 3 * bn.gamma.asnumpy() / np.sqrt(bn.moving_variance.asnumpy() + bn.eps)
    np.testing.assert_allclose(found, np.broadcast_to(expected[:, None, None], x.shape), rtol=1e-5)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (["backbone.layer", "heads"], r"no part backbone.layer, heads; .* backbone.layer1, .*fc, "),
        (["backbone", "head"], "nothing is left to train without backbone, head"),
    ],
)
def test_freezing_what_is_not_there_or_everything_is_refused(parts: list[str], words: str) -> None:
    with pytest.raises(ArchitectureError, match=words):
        freeze(build("tiny", 10), parts)
