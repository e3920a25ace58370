"""Device names as an operator writes them: `cpu`, `cuda:1`, `ascend:0-7`, `cuda:0,cuda:2`."""

import re
from typing import Literal, NamedTuple, cast

from serving.errors import StartupError

Kind = Literal["cpu", "cuda", "tensorrt", "ascend"]

DEVICE = re.compile(r"(cpu)|(cuda|tensorrt|ascend)(?::(\d{1,3})(?:-(\d{1,3}))?)?")
SYNTAX = (
    "use cpu, cuda, tensorrt or ascend, the last three with an optional index (cuda:1) or range "
    "(ascend:0-7); separate several with commas (cuda:0,cuda:2)"
)


class Device(NamedTuple):
    """One device; the default ordinal is the first of its kind."""

    kind: Kind
    ordinal: int = 0

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.ordinal}"

    @classmethod
    def parse(cls, text: str) -> "Device":
        """Return the device that `text` names; raise `StartupError` if it names several."""
        devices = parse_devices(text)
        if len(devices) > 1:
            raise StartupError(f"{text!r} names {len(devices)} devices; name one")
        return devices[0]


def parse_devices(text: str) -> list[Device]:
    """Return the devices that `text` names, all of one kind.

    Raises:
        StartupError: a device is unknown or named twice, or they are of several kinds.
    """
    devices = [device for part in text.split(",") for device in _range(part)]
    if repeated := sorted({str(device) for device in devices if devices.count(device) > 1}):
        raise StartupError(f"device {text!r} names {', '.join(repeated)} more than once")
    if len(kinds := sorted({device.kind for device in devices})) > 1:
        raise StartupError(
            f"device {text!r} mixes {' and '.join(kinds)}; a model runs on devices of one kind"
        )
    return devices


def _range(part: str) -> list[Device]:
    if not (match := DEVICE.fullmatch(part)):
        raise StartupError(f"unknown device {part!r}; {SYNTAX}")
    if match[1]:
        return [Device("cpu")]
    first = int(match[3] or 0)
    last = int(match[4] or first)
    if last < first:
        raise StartupError(f"device {part!r}: the range descends; use {match[2]}:{last}-{first}")
    return [Device(cast("Kind", match[2]), ordinal) for ordinal in range(first, last + 1)]
