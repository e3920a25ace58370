"""OpenVINO, without its telemetry. Nothing else here imports it: ruff sees to that.

Its import imports its conversion tools, which report that to the vendor through Google Analytics,
and keep an identifier and a count in the folder `intel` of the user's home, unless the user has
opted out. Inference needs neither them nor the package that reports: the import goes without.

It computes in oneDNN, which may be told by the environment to use an older instruction set, as
`training` does for the sake of MindSpore's copy of it. OpenVINO crashes in bf16 if it is. So its
copy is asked what the CPU can do, which it finds out once, while the environment says nothing.

There is one `core`, which lives as long as the process. A thread that loads OpenVINO's plugin gets
another stack for signals from it; that memory goes with the core, and the next signal would crash.
"""

import os
import sys

# None makes an import fail; OpenVINO goes on then as if they were not installed.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
sys.modules["openvino.tools"] = None  # type: ignore[assignment]

import openvino  # noqa: E402, TID251 - after the settings, and here alone
from openvino.frontend import FrontEndManager  # noqa: E402, TID251 - the same

LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")

core = openvino.Core()


def _see_the_whole_cpu() -> None:
    set_here = {name: os.environ.pop(name) for name in LIMITS if name in os.environ}
    core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    os.environ.update(set_here)


_see_the_whole_cpu()

__all__ = ["FrontEndManager", "core", "openvino"]
