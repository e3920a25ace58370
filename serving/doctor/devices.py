"""Are the devices there, with a runtime that can use them?"""

from collections.abc import Iterator

from cli.gpus import driver_cuda
from serving.backends.devices import Device, parse_devices
from serving.backends.hardware import describe, missing
from serving.backends.runtimes import RUNTIMES
from serving.config import ServingConfig
from serving.doctor.finding import Case, Finding

LIST = "choose another --device: python -m serving devices lists what runs here"


def check(case: Case) -> Iterator[Finding]:
    """Look for each device of --device and what it needs, as `python -m serving devices` does."""
    for device in parse_devices(case.config.device):
        yield _look(device, case.config)


def _look(device: Device, config: ServingConfig) -> Finding:
    asked = RUNTIMES[device.kind] if config.runtime == "auto" else (config.runtime,)
    lacks = {
        runtime: missing(runtime, device, config.lite_python, config.precision) for runtime in asked
    }
    able = [runtime for runtime, lack in lacks.items() if lack is None]
    if not able:
        reasons = "; ".join(f"{runtime}: {lack}" for runtime, lack in lacks.items())
        return Finding("fail", f"nothing runs on {device}: {reasons}", LIST)
    return Finding("ok", f"{_named(device)}: {', '.join(able)}")


def _named(device: Device) -> str:
    if device.kind not in ("cuda", "tensorrt"):
        return describe(device)
    major, minor = driver_cuda()
    return f"{describe(device)}, driver for CUDA {major}.{minor}"
