"""The device of this process, and the group of processes that train one network, data-parallel.

Each process does a share of every step. In a group of one, every function after `join` is the
identity. A device that is missing is an error, not a fall-back.
"""

import os
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, communication, nn, ops
from numpy.typing import NDArray

from training.errors import DeviceError
from training.launch import device_index
from training.settings.config import CommonConfig

Gradients = tuple[Tensor, ...]
Config = TypeVar("Config", bound=CommonConfig)
Number = TypeVar("Number", np.int64, np.float64)
MASTER = 0


def use_device(platform: str, index: int = 0) -> None:
    """Run everything that follows on Ascend, GPU or CPU; raise DeviceError if it is missing."""
    if platform == "CPU":
        # Otherwise the Python thread spins as it waits, on a core that kernels need: half speed.
        os.environ.setdefault("MS_DEV_HOST_BLOCKING_RUN", "1")
    try:
        mindspore.set_device(platform, index)
        present = mindspore.hal.is_available(platform)
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DeviceError(f"{_missing(platform)} ({reason})") from error
    if not present:
        raise DeviceError(_missing(platform))


def join(config: Config) -> Config:
    """Take this process's device, enter the group; return the settings with rank and group_size.

    On a machine with several devices DEVICE_ID, which a launcher sets, is the index. Raises
    DeviceError if there is no such device, or the launcher started another number of processes
    than the settings say.
    """
    use_device(config.platform, device_index())
    if not config.is_distributed:
        return config
    communication.init()
    rank, size = communication.get_rank(), communication.get_group_size()
    if "group_size" in config.model_fields_set and config.group_size != size:
        raise DeviceError(f"group_size={config.group_size}, but {size} processes were started")
    return config.model_copy(update={"rank": rank, "group_size": size})


def share(net: nn.Cell, config: CommonConfig) -> None:
    """Give every process the parameters of the master, batch norm's statistics among them."""
    if config.group_size == 1:
        return
    broadcast = ops.Broadcast(MASTER)
    for parameter in net.get_parameters():
        # Not set_data: a graph that is compiled already would not see it.
        ops.assign(parameter, broadcast((Tensor(parameter),))[0])


def total(values: NDArray[Number], config: CommonConfig) -> NDArray[Number]:
    """Return the sum over all processes, in each of them; whole numbers are exact below 2**24.

    They travel as float32, the one type that every device can add.
    """
    if config.group_size == 1:
        return values
    summed = ops.AllReduce()(Tensor(values.astype(np.float32))).asnumpy()
    return cast("NDArray[Number]", summed.astype(values.dtype))


def any_of(flag: bool, config: CommonConfig) -> bool:  # noqa: FBT001 - its one meaning
    """Return whether the flag is set in any process, in each of them."""
    return bool(total(np.array([flag], np.int64), config).any())


def wait_for_all(config: CommonConfig) -> None:
    """Return once every process is here."""
    total(np.zeros(1, np.int64), config)


def gradient_mean(
    parameters: Sequence[Parameter], config: CommonConfig
) -> Callable[[Gradients], Gradients]:
    """Return a function, for use inside a graph, from this process's gradients to their mean."""
    if config.group_size == 1:
        return lambda gradients: gradients
    if config.platform == "CPU":
        return lambda gradients: _mean_at_once(gradients, config.group_size)
    reducer = nn.DistributedGradReducer(list(parameters), mean=True, degree=config.group_size)
    return cast("Callable[[Gradients], Gradients]", reducer)


def _mean_at_once(gradients: Gradients, processes: int) -> Gradients:
    """Send all gradients as one: among CPUs each message costs about a millisecond."""
    flat = ops.concat([gradient.reshape(-1).astype(mindspore.float32) for gradient in gradients])
    mean = ops.AllReduce()(flat) / processes
    parts = ops.split(mean, [gradient.size for gradient in gradients])
    pairs = zip(parts, gradients)  # noqa: B905 - unknown to a graph
    return tuple([part.reshape(gradient.shape).astype(gradient.dtype) for part, gradient in pairs])


def agree(number: int, config: CommonConfig) -> int:
    """Return the master's number, below 2**31, in every process."""
    if config.group_size == 1:
        return number
    shared = ops.Broadcast(MASTER)((Tensor([number], dtype=mindspore.int32),))
    return int(shared[0].asnumpy()[0])


def _missing(platform: str) -> str:
    return (
        f"MindSpore {mindspore.__version__} finds no {platform} on this machine; "
        "choose another --platform (--device-target in an export)"
    )
