"""Settings of the runtimes. Imports no runtime, so that `--help` stays fast."""

import os
from pathlib import Path
from typing import Literal, NamedTuple

Runtime = Literal["onnxruntime", "openvino", "mindspore-lite"]
# Options of ONNX Runtime's CUDA provider that decide how fast it computes, or how exactly.
CUDA_OPTIONS = (
    "arena_extend_strategy",
    "cudnn_conv_algo_search",
    "cudnn_conv_use_max_workspace",
    "enable_cuda_graph",
    "fuse_conv_bias",
    "prefer_nhwc",
    "use_tf32",
)


def _cache() -> Path | None:
    """Return the folder for what can be made again; None for a user without a home."""
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # neither HOME nor an entry in the password file
        return None
    return Path(base) / "resnext-serving"


class RuntimeSettings(NamedTuple):
    """The settings of runtimes, besides model, device and buckets.

    Args:
        threads: CPU threads that a batch may use.
        device_memory_mib: limit of ONNX Runtime's memory per instance, in MiB; None for no limit.
        cuda_options: some of `CUDA_OPTIONS`, each as "name=value", in place of what we choose.
        cache_dir: folder for files that a runtime builds from a model; None if there is none.
        lite_python: interpreter that has mindspore_lite; None for this one.
        batch_timeout_s: seconds after which a MindSpore Lite worker with a batch counts as lost.
    """

    threads: int = 1
    device_memory_mib: int | None = None
    cuda_options: tuple[str, ...] = ()
    cache_dir: Path | None = _cache()
    lite_python: Path | None = None
    batch_timeout_s: float = 60.0


DEFAULTS = RuntimeSettings()
