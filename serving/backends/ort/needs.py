"""What onnxruntime-gpu needs: a driver that is new enough, and a GPU that it has code for."""

import platform

from cli.gpus import driver_cuda, gpu_capability, gpu_name

# The release of onnxruntime-gpu that the facts below were read from.
RELEASE = "1.31.1"
# The version of CUDA that it is built with, and the first driver that offers it. A driver runs what
# was built with its own or a lower minor version, and with a higher one: "CUDA Compatibility",
# minor version compatibility.
CUDA, DRIVER = (13, 0), 580
# The GPUs that its CUDA provider has code for, by machine: the section .nv_fatbin of its library.
# There is no PTX in it, which a driver could compile for others.
DEVICE_CODE = {
    "x86_64": ((7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (12, 0)),
    "aarch64": ((8, 9), (9, 0), (12, 0), (12, 1)),
}


def too_old() -> str | None:
    """Return that the driver is too old for ONNX Runtime; None if it is not."""
    offered = driver_cuda()
    if offered >= CUDA:
        return None
    return (
        f"the NVIDIA driver offers CUDA {_dotted(offered)}, and onnxruntime-gpu {RELEASE} needs "
        f"CUDA {_dotted(CUDA)}: install driver {DRIVER} or newer"
    )


def without_code(ordinal: int, release: str) -> str | None:
    """Return that ONNX Runtime's CUDA provider has no code for a GPU; None if it has some.

    Args:
        ordinal: number of the GPU.
        release: version of onnxruntime-gpu; None is returned for any but `RELEASE`, too.
    """
    built_for = DEVICE_CODE.get(platform.machine())
    if release != RELEASE or not built_for:
        return None
    capability = gpu_capability(ordinal)
    if any(runs(capability, built) for built in built_for):
        return None
    held = ", ".join(map(_sm, built_for))
    return (
        f"{gpu_name(ordinal)} is {_sm(capability)}, and onnxruntime-gpu {release} for "
        f"{platform.machine()} has no code for that, only for {held}"
    )


def runs(capability: tuple[int, int], built_for: tuple[int, int]) -> bool:
    """Return whether a GPU of one compute capability runs binary code built for another one.

    It does within one major version, if it has the same or a later revision (NVIDIA, "CUDA C++
    Programming Guide", section "Binary Compatibility"). That holds for cards. Of the GPUs of Tegra
    chips, which it excludes, none has a major version that `DEVICE_CODE` has code for on their
    machine, but for one (8.7), which is older than that code (8.9).
    """
    return capability[0] == built_for[0] and capability[1] >= built_for[1]


def _sm(capability: tuple[int, int]) -> str:
    return "sm_{}{}".format(*capability)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
