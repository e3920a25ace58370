"""ONNX Runtime, with its telemetry off. Nothing else here imports it: ruff sees to that.

From release 1.32 on, its import starts a thread that reports to the vendor, and keeps an identifier
of the device and a database in the user's cache folder. Only the environment stops that, and only
before the import: after `disable_telemetry_events` the thread still looks up the vendor's host.
"""

import os

# Who wants the telemetry sets 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime  # noqa: TID251 - after the setting, and here alone

__all__ = ["onnxruntime"]
