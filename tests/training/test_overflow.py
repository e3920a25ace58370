"""Which gradients count as finite, on the platform that the tests run on."""

import mindspore
import numpy as np
import pytest
from mindspore import Tensor

from training.step import finite_check

# Of biases, dense layers, convolutions with one and with several numbers in a row.
SHAPES = ((7,), (5, 70), (3, 1, 1, 1), (4, 2, 3, 3))


def all_finite(gradients: list[np.ndarray]) -> bool:
    check = finite_check("CPU")

    @mindspore.jit
    def graph(*tensors: Tensor) -> Tensor:
        return check(tensors)

    return bool(graph(*map(Tensor, gradients)))


def gradients(largest: float = 1.0) -> list[np.ndarray]:
    chance = np.random.default_rng(0)
    return [chance.uniform(-largest, largest, shape).astype(np.float32) for shape in SHAPES]


@pytest.mark.parametrize("largest", [0.0, 1.0, 1e36])
def test_finite_gradients_are_finite(largest: float) -> None:
    assert all_finite(gradients(largest))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", range(len(SHAPES)))
def test_a_single_number_is_found(bad: float, index: int) -> None:
    for place in (0, -1):
        found = gradients()
        found[index].reshape(-1)[place] = bad
        assert not all_finite(found)


def test_infinities_of_both_signs_do_not_cancel_out() -> None:
    found = gradients()
    found[0][0], found[1][0, 0], found[1][0, 1] = np.inf, np.inf, -np.inf
    assert not all_finite(found)
