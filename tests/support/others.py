"""Our weights under the names of torchvision, timm and mindcv, by a table of its own."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

Parameters = dict[str, NDArray[Any]]
MINDCV = (
    (r"^backbone\.(conv|bn)\.", r"\g<1>1."),
    (r"^backbone\.", ""),
    (r"down_sample\.conv\.", "down_sample.0."),
    (r"down_sample\.bn\.", "down_sample.1."),
    (r"^head\.fc\.", "classifier."),
)
TORCH = (
    *MINDCV,
    ("down_sample", "downsample"),
    ("^classifier", "fc"),
    (r"\.gamma$", ".weight"),
    (r"\.beta$", ".bias"),
    (r"\.moving_mean$", ".running_mean"),
    (r"\.moving_variance$", ".running_var"),
)


def as_mindcv(parameters: Parameters) -> Parameters:
    """Return the weights as mindcv calls them."""
    return {_renamed(name, MINDCV): value for name, value in parameters.items()}


def as_torch(parameters: Parameters) -> Parameters:
    """Return the weights as torchvision and timm call them, with the counters of batch norm."""
    found = {_renamed(name, TORCH): value for name, value in parameters.items()}
    norms = [name.removesuffix("running_mean") for name in found if name.endswith("running_mean")]
    return found | {f"{norm}num_batches_tracked": np.array(7) for norm in norms}


def _renamed(name: str, table: tuple[tuple[str, str], ...]) -> str:
    for pattern, theirs in table:
        name = re.sub(pattern, theirs, name)
    return name
