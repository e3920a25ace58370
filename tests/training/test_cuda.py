"""What MindSpore needs for a GPU: found, loaded, or named, on machines that these tests imitate."""

import ctypes
import logging
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from export.__main__ import main as export
from tests.support.fake_driver import Driver
from tests.support.paths import ROOT
from training import cuda
from training.cuda import LIBRARIES, prepare
from training.errors import DeviceError
from training.train import main as train

DRIVER = "libcuda.so.1"


class Machine:
    """A machine with a driver, and with some of the libraries, each in a place of its own."""

    def __init__(self) -> None:
        self.driver: Driver | None = Driver((8, 0))
        self.there: set[str] = set()
        self.loaded: list[str] = []

    def load(self, path: str) -> Any:
        if path == DRIVER and self.driver:
            return self.driver
        if path not in self.there:
            raise OSError(f"{path}: cannot open shared object file: No such file or directory")
        self.loaded.append(path)
        return None

    def install(self, folder: Path, *without: str) -> None:
        """Put the packages of the extra into a folder that `nvidia` leads to."""
        self.there |= {
            str(folder / library.folder / "lib" / library.name)
            for library in LIBRARIES
            if library.name not in without
        }


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(ctypes, "CDLL", machine.load)
    monkeypatch.setattr(cuda, "find_spec", lambda _: None)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/lib")
    monkeypatch.setenv("CUDA_HOME", "/usr/local/cuda-13.0")
    monkeypatch.setenv("CUDA_CACHE_MAXSIZE", "")
    monkeypatch.delenv("CUDA_CACHE_MAXSIZE")
    return machine


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `nvidia` of site-packages."""

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(cuda, "find_spec", lambda _: Spec)
    return tmp_path


def test_the_extra_brings_what_is_loaded() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {word.split(";")[0] for word in extras["optional-dependencies"]["training-gpu"]}
    pinned = {re.split("[>=]=", word)[0]: word for word in wanted}
    packages = {library.package for library in LIBRARIES}
    assert {name.partition("==")[0] for name in packages} == {*pinned} - {
        "resnext-serving[training]"
    }
    assert {name for name in packages if "==" in name} <= wanted


@pytest.mark.parametrize("index", ["0", "3"])
def test_training_prepares_before_mindspore_is_imported(
    index: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def prepared(asked: int) -> None:
        assert "training.distributed" not in sys.modules
        raise DeviceError(f"no GPU {asked}")

    monkeypatch.setattr(cuda, "prepare", prepared)
    monkeypatch.setenv("DEVICE_ID", index)
    monkeypatch.delitem(sys.modules, "training.distributed", raising=False)
    assert train(["--recipe", "smoke", "--platform", "GPU"]) == 1
    assert f"error: no GPU {index}" in capsys.readouterr().err


def test_an_export_prepares_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def prepared(asked: int) -> None:
        raise DeviceError(f"no GPU {asked}")

    monkeypatch.setattr(cuda, "prepare", prepared)
    flags = ["--ckpt-file", "none.ckpt", "--device-target", "GPU", "--device-id", "2"]
    assert export(flags) == 1
    assert "error: no GPU 2" in capsys.readouterr().err


def test_the_packages_are_loaded_in_order_and_found_by_what_mindspore_asks(
    machine: Machine, packages: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine.install(packages)
    prepare(0)
    assert [Path(path).name for path in machine.loaded] == [lib.name for lib in LIBRARIES]
    folders = os.environ["LD_LIBRARY_PATH"].split(":")
    assert {*folders} == {str(packages / lib.folder / "lib") for lib in LIBRARIES} | {"/opt/lib"}
    assert len(folders) == len({*folders})
    nvcc = Path(os.environ["CUDA_HOME"], "bin/nvcc")
    told = subprocess.check_output([nvcc, "--version"], text=True)
    assert told.startswith("Cuda compilation tools, release 11.6,")
    assert not caplog.records


def test_libraries_of_the_system_do_as_well(machine: Machine) -> None:
    machine.there = {library.name for library in LIBRARIES[:4]}
    machine.there |= {str(cuda.SYSTEM_CUDA / library.name) for library in LIBRARIES[4:]}
    prepare(0)
    assert os.environ["LD_LIBRARY_PATH"] == f"{cuda.SYSTEM_CUDA}:/opt/lib"


def test_what_is_missing_is_named_with_its_package(machine: Machine, packages: Path) -> None:
    machine.install(packages, "libcudnn.so.8", "libcufft.so.10")
    with pytest.raises(DeviceError) as raised:
        prepare(0)
    assert str(raised.value) == (
        "the platform GPU: MindSpore needs libcudnn.so.8 (nvidia-cudnn-cu11==8.9.6.50), "
        "libcufft.so.10 (nvidia-cufft-cu11), which cannot be loaded: `make train PLATFORM=GPU` "
        "installs them (extra training-gpu), or name their folders in LD_LIBRARY_PATH"
    )


def test_without_a_driver_that_is_told_with_the_rest(machine: Machine) -> None:
    machine.driver = None
    with pytest.raises(DeviceError, match=r"^the platform GPU: no NVIDIA driver: libcuda"):
        prepare(0)
    with pytest.raises(
        DeviceError, match=r"directory; MindSpore needs libcudart\.so\.11\.0 \(nvidia-cuda"
    ):
        prepare(0)


@pytest.mark.parametrize(
    ("driver", "index", "told"),
    [
        (Driver(code=100, reason=b"none"), 0, r"shows no GPU: none \(CUDA error 100\)"),
        (Driver(cuda=10_020), 0, r"is older than 450: it offers CUDA 10\.2, not 11"),
        (Driver(count=2), 2, "no GPU 2: the driver shows 2, counted from 0"),
        (Driver((5, 2)), 0, r"NVIDIA Test \(compute capability 5\.2\) is too old: .* from 6\.0 on"),
    ],
    ids=["none", "driver", "beyond", "old"],
)
def test_a_card_that_cannot_be_used_is_told(
    machine: Machine, packages: Path, driver: Driver, index: int, told: str
) -> None:
    machine.install(packages)
    machine.driver = driver
    with pytest.raises(DeviceError, match=told):
        prepare(index)


@pytest.mark.parametrize(
    ("capability", "compiled"),
    [((6, 0), False), ((7, 5), False), ((8, 9), False), ((9, 0), True), ((12, 0), True)],
)
def test_cards_that_the_wheel_has_no_machine_code_for_are_warned_of(
    machine: Machine,
    packages: Path,
    capability: tuple[int, int],
    compiled: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    machine.install(packages)
    machine.driver = Driver(capability)
    with caplog.at_level(logging.WARNING):
        prepare(0)
    assert ("which takes minutes" in caplog.text) == compiled
    assert os.environ["CUDA_CACHE_MAXSIZE"] == str(4 << 30)
