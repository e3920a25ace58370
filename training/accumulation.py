"""A step in parts: the gradients of one large batch from several small ones."""

from collections.abc import Callable
from typing import cast

import mindspore
from mindspore import ParameterTuple, Tensor, ops

from training.distributed import Gradients

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def in_parts(
    gradients: Callable[[Tensor, Tensor], tuple[tuple[Tensor, Tensor], Gradients]],
    update: Callable[[Gradients], Tensor],
    parameters: ParameterTuple,
    parts: int,
) -> Step:
    """Return a step that runs a batch in `parts` of equal size and updates once.

    The network is compiled for a part, not for the batch. Losses and gradients are means over the
    parts, hence over the batch (as with --grad-accum-steps of timm's train.py); batch norm sees one
    part at a time.

    Args:
        gradients: images and labels -> (loss to derive, loss to report), gradients.
        update: gradients -> whether they were finite; for use inside a graph, as `gradients` is.
        parameters: of the gradients.
        parts: how many.
    """
    totals = parameters.clone(prefix="accumulated", init="zeros")

    @mindspore.jit  # type: ignore[untyped-decorator]  # mindspore is untyped
    def add(images: Tensor, labels: Tensor, losses: Tensor) -> Tensor:
        (_, loss), grads = gradients(images, labels)
        for total, grad in zip(totals, grads):  # noqa: B905 - unknown to a graph
            ops.assign_add(total, grad)
        return losses + loss

    @mindspore.jit  # type: ignore[untyped-decorator]  # mindspore is untyped
    def finish(losses: Tensor) -> tuple[Tensor, Tensor]:
        finite = update(ops.HyperMap()(ops.partial(_share, parts), totals))
        for total in totals:
            ops.assign(total, ops.zeros_like(total))
        return losses / parts, finite

    def step(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        losses = Tensor(0.0, mindspore.float32)
        for part in zip(images.chunk(parts), labels.chunk(parts), strict=True):
            losses = add(*part, losses)
        return cast("tuple[Tensor, Tensor]", finish(losses))

    return step


def _share(parts: int, total: Tensor) -> Tensor:
    return total / parts
