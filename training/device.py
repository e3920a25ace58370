"""Choosing the device, with a clear word where it is not there."""

import mindspore

from training.errors import DeviceError


def use(platform: str, index: int = 0) -> None:
    """Run everything that follows on Ascend, GPU or CPU; raise DeviceError if it is missing."""
    try:
        mindspore.set_device(platform, index)
        present = mindspore.hal.is_available(platform)
    except (RuntimeError, ValueError) as error:
        raise DeviceError(_message(platform)) from error
    if not present:
        raise DeviceError(_message(platform))


def _message(platform: str) -> str:
    return (
        f"MindSpore {mindspore.__version__} finds no {platform} on this machine; "
        "choose another --platform"
    )
