"""Softmax cross entropy with label smoothing as the upstream's `crossentropy.py` defines it."""

from mindspore import Tensor, nn, ops


class SmoothedCrossEntropy(nn.Cell):  # type: ignore[misc]  # mindspore is untyped
    """Logits (N, K), int32 labels (N,) -> mean loss, a scalar.

    The true class gets 1 - smoothing, each other class smoothing / (K - 1); not smoothing / K.
    """

    def __init__(self, num_classes: int, smoothing: float) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.on_value = Tensor(1 - smoothing)
        self.off_value = Tensor(smoothing / max(num_classes - 1, 1))

    def construct(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss."""
        target = ops.one_hot(labels, self.num_classes, self.on_value, self.off_value)
        return -(target * ops.log_softmax(logits, axis=1)).sum(axis=1).mean()
