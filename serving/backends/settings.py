"""What runtimes are told; apart from them, so that `--help` waits for none."""

import os
from pathlib import Path
from typing import Literal, NamedTuple

Runtime = Literal["onnxruntime", "mindspore-lite"]

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "resnext-serving"


class RuntimeSettings(NamedTuple):
    """Settings of a runtime besides model and device; each takes what concerns it.

    `lite_python` is the interpreter that has mindspore_lite, None for this one.
    """

    threads: int = 1
    device_memory_mib: int | None = None
    cache_dir: Path = CACHE
    lite_python: Path | None = None
    batch_timeout_s: float = 60.0


DEFAULTS = RuntimeSettings()
