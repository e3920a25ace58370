"""NPUs are counted as CANN counts them, whatever the names of their device files."""

from pathlib import Path

import pytest

from serving.backends import ascend, hardware
from serving.backends.ascend import VISIBLE, count_npus
from serving.backends.devices import Device
from serving.backends.hardware import missing, present


@pytest.fixture(autouse=True)
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the device files, with CANN's two that are no NPU's."""
    monkeypatch.setattr(ascend, "DEVICES", tmp_path)
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setattr(hardware, "_missing_package", lambda _: None)
    monkeypatch.setattr(hardware, "_missing_libraries", lambda _: None)
    for name in ("davinci_manager", "devmm_svm"):
        (tmp_path / name).touch()
    return tmp_path


def add(devices: Path, *numbers: int) -> None:
    for number in numbers:
        (devices / f"davinci{number}").touch()


def test_the_only_npu_of_a_container_is_the_first(devices: Path) -> None:
    assert present("ascend") == 0
    add(devices, 5)
    assert present("ascend") == 1
    assert missing("onnxruntime", Device("ascend", 0)) is None
    assert missing("onnxruntime", Device("ascend", 5)) == (
        f"no NPU 5: there are 1 in {devices} (davinci<number>), counted from 0"
    )


@pytest.mark.parametrize(
    ("value", "count"),
    [("1", 1), ("1,2,3", 3), ("1, 2,3", 1), ("1,2,-1,3", 2), ("0,1,8,2", 2), ("", 0), ("0,0", 0)],
)
def test_the_variable_leaves_what_cann_reads(
    value: str, count: int, devices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(devices, *range(8))
    monkeypatch.setenv(VISIBLE, value)
    assert count_npus() == count


def test_an_npu_that_the_variable_hides_is_missing(
    devices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(devices, *range(8))
    monkeypatch.setenv(VISIBLE, "6,7")
    assert missing("onnxruntime", Device("ascend", 1)) is None
    assert missing("onnxruntime", Device("ascend", 6)) == (
        f"no NPU 6: there are 8 in {devices} (davinci<number>), of which {VISIBLE}=6,7 leaves 2, "
        f"counted from 0"
    )
