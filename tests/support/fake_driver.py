"""NVIDIA's driver on a machine that this one imitates."""

from typing import Any

from cli.gpus import MAJOR, MINOR


class Driver:
    """The driver's API over one card; its arguments are what `ctypes.byref` returns.

    Args:
        capability: of the card.
        cuda: the version of CUDA that it offers, as 1000 * major + 10 * minor.
        count: how many GPUs it shows.
        code: what its first call returns.
        reason: what that means.
    """

    def __init__(
        self,
        capability: tuple[int, int] = (9, 0),
        *,
        cuda: int = 13_000,
        count: int = 1,
        code: int = 0,
        reason: bytes | None = None,
    ) -> None:
        self.attributes = dict(zip((MAJOR, MINOR), capability, strict=True))
        self.cuda, self.count, self.code, self.reason = cuda, count, code, reason

    def cuInit(self, flags: int) -> int:  # noqa: N802 - the driver's names
        return self.code

    def cuGetErrorString(self, code: int, text: Any) -> int:  # noqa: N802
        text._obj.value = self.reason
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = self.cuda
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self.count
        return 0

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:  # noqa: N802
        device._obj.value = ordinal
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:  # noqa: N802
        name.value = b"NVIDIA Test"
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802
        value._obj.value = self.attributes[attribute]
        return 0
