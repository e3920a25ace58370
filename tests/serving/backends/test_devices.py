from unittest.mock import Mock

import pytest

from serving.backends.backend import Placement, placement
from serving.backends.devices import Device, parse_devices
from serving.errors import StartupError


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cpu", ["cpu"]),
        ("cuda", ["cuda:0"]),
        ("tensorrt:3", ["tensorrt:3"]),
        ("ascend:0-2", ["ascend:0", "ascend:1", "ascend:2"]),
        ("cuda:0,cuda:4-5", ["cuda:0", "cuda:4", "cuda:5"]),
        ("cuda:7-7", ["cuda:7"]),
    ],
)
def test_devices_are_named_alone_in_ranges_and_in_lists(text: str, names: list[str]) -> None:
    assert [str(device) for device in parse_devices(text)] == names


@pytest.mark.parametrize("text", ["gpu", "cuda:x", "cpu:0", "", "cuda:0,", "cuda:0,1", "CUDA"])
def test_an_unknown_device_is_told_what_there_is(text: str) -> None:
    with pytest.raises(StartupError, match=r"unknown device .*use cpu, cuda, tensorrt or ascend"):
        parse_devices(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cuda:1,cuda:0-2", "names cuda:1 more than once"),
        ("cpu,cpu", "names cpu more than once"),
        ("cpu,cuda:1", "mixes cpu and cuda; a model runs on devices of one kind"),
        ("ascend:7-0", "range descends; use ascend:0-7"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(StartupError, match=message):
        parse_devices(text)


def test_who_wants_one_device_refuses_several() -> None:
    assert Device.parse("ascend:4") == Device("ascend", 4)
    with pytest.raises(StartupError, match="'cuda:0-1' names 2 devices; name one"):
        Device.parse("cuda:0-1")


def test_a_model_on_several_devices_names_each_once() -> None:
    gpus = [Mock(**{"describe.return_value": Placement("r", f"cuda:{i}", "fp16")}) for i in "0011"]
    assert placement(gpus) == ("r", "cuda:0,cuda:1", "fp16")
