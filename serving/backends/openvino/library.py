"""OpenVINO, without its telemetry. Nothing else here imports it: ruff sees to that.

Its import imports its conversion tools, which report that to the vendor through Google Analytics,
and keep an identifier and a count in the folder `intel` of the user's home, unless the user has
opted out. Inference needs neither them nor the package that reports: the import goes without.
"""

import sys

# None makes an import fail; OpenVINO goes on then as if they were not installed.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
sys.modules["openvino.tools"] = None  # type: ignore[assignment]

import openvino  # noqa: E402, TID251 - after the settings, and here alone
from openvino.frontend import FrontEndManager  # noqa: E402, TID251 - the same

__all__ = ["FrontEndManager", "openvino"]
