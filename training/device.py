"""The device that this process runs on; one that is missing is an error, not a fall-back."""

import os

import mindspore

from training.errors import DeviceError


def use(platform: str, index: int = 0) -> None:
    """Run everything that follows on Ascend, GPU or CPU; raise DeviceError if it is missing."""
    if platform == "CPU":
        # Otherwise the Python thread spins as it waits, on a core that kernels need: half speed.
        os.environ.setdefault("MS_DEV_HOST_BLOCKING_RUN", "1")
    try:
        mindspore.set_device(platform, index)
        present = mindspore.hal.is_available(platform)
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DeviceError(f"{_message(platform)} ({reason})") from error
    if not present:
        raise DeviceError(_message(platform))


def local_index() -> int:
    """Return the device of this process on its machine: DEVICE_ID, which a launcher sets, or 0."""
    return int(os.environ.get("DEVICE_ID", "0"))


def _message(platform: str) -> str:
    return (
        f"MindSpore {mindspore.__version__} finds no {platform} on this machine; "
        "choose another --platform"
    )
