"""Whether a step's gradients have overflowed."""

from collections.abc import Callable

from mindspore import Tensor, amp, ops

Gradients = tuple[Tensor, ...]


def finite_check(platform: str) -> Callable[[Gradients], Tensor]:
    """Return a function, for use inside a graph: float32 gradients -> bool (), are all finite?

    The accelerators have kernels for this in `amp.all_finite`; a CPU has not, and spends up to a
    fifth of a step of the full network in what stands in for them.
    """
    return _sum_is_finite if platform == "CPU" else amp.all_finite


def _sum_is_finite(gradients: Gradients) -> Tensor:
    """A sum is finite if all that it adds is, unless they come near the largest float themselves.

    Sums of rows use all threads and vectors of the CPU; one sum of everything uses one thread.
    """
    rows = ops.HyperMap()(_row_sums, gradients)
    return ops.isfinite(ops.ReduceSum()(ops.cat(rows)))


def _row_sums(gradient: Tensor) -> Tensor:
    if gradient.ndim == 1:
        return gradient
    return ops.ReduceSum()(gradient.reshape(gradient.shape[0], -1), 1)
