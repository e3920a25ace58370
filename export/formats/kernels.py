"""The weights of grouped convolutions; in numpy alone, for a machine without onnx."""

import numpy as np
from numpy.typing import NDArray


def merged(kernels: NDArray[np.floating], count: int) -> NDArray[np.floating]:
    """Return the kernels of `count` groups at a time as those of one, with zeros between groups.

    Args:
        kernels: of all groups, (out, channels per group, ...).
        count: how many groups become one; (out, count * channels per group, ...) is returned.
    """
    out, channels, *window = kernels.shape
    whole = np.zeros((out // (count * channels), count, channels, count, channels, *window))
    split = kernels.reshape(-1, count, channels, channels, *window)
    for place in range(count):
        whole[:, place, :, place] = split[:, place]
    return whole.reshape(out, count * channels, *window).astype(kernels.dtype)
