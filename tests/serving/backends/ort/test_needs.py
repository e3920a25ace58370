"""What ONNX Runtime needs of drivers and GPUs that are not here."""

import ctypes
import platform
import re

import pytest

from serving.backends import hardware
from serving.backends.devices import Device
from serving.backends.hardware import missing
from serving.backends.ort import needs
from serving.backends.ort.library import onnxruntime
from serving.backends.ort.needs import DEVICE_CODE, RELEASE, runs, without_code
from tests.support.fake_driver import Driver
from tests.support.paths import ROOT


def lacks(monkeypatch: pytest.MonkeyPatch, found: Driver, kind: str = "cuda") -> str | None:
    """Return what the hardware lacks of a machine with this driver and the locked package."""
    monkeypatch.setattr(ctypes, "CDLL", lambda _: found)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(onnxruntime, "__version__", RELEASE)
    monkeypatch.setattr(hardware, "_missing_package", lambda _: None)
    monkeypatch.setattr(hardware, "_missing_libraries", lambda _: None)
    return missing("onnxruntime", Device.parse(kind))


@pytest.mark.parametrize(
    ("machine", "able", "unable"),
    [
        # Those of T4, A100, A10, an Orin, L4, H100, RTX PRO 6000, GB10; of V100, B200, B300
        ("x86_64", {75, 80, 86, 87, 89, 90, 120, 121}, {70, 100, 103}),
        ("aarch64", {89, 90, 120, 121}, {75, 80, 86, 87, 100, 103, 110}),
    ],
)
def test_code_runs_on_later_revisions_of_its_architecture(
    machine: str, able: set[int], unable: set[int]
) -> None:
    found = {
        number
        for number in able | unable
        if any(runs(divmod(number, 10), built) for built in DEVICE_CODE[machine])
    }
    assert found == able


def test_a_card_without_code_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for capability, name in [((7, 0), "sm_70"), ((10, 0), "sm_100")]:
        assert lacks(monkeypatch, Driver(capability)) == (
            f"NVIDIA Test is {name}, and onnxruntime-gpu {RELEASE} for x86_64 has no code for "
            f"that, only for sm_75, sm_80, sm_86, sm_89, sm_90, sm_120"
        )
    assert lacks(monkeypatch, Driver((9, 0))) is None
    # TensorRT brings code of its own.
    assert lacks(monkeypatch, Driver((10, 0)), "tensorrt") is None


@pytest.mark.parametrize("kind", ["cuda", "tensorrt"])
def test_a_driver_that_is_too_old_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lacks(monkeypatch, Driver(cuda=12090), kind) == (
        f"the NVIDIA driver offers CUDA 12.9, and onnxruntime-gpu {RELEASE} needs CUDA 13.0: "
        "install driver 580 or newer"
    )
    assert lacks(monkeypatch, Driver(cuda=13020), kind) is None


@pytest.mark.parametrize(
    ("reason", "said"), [(b"system not yet initialized", "system not yet init"), (None, "unknown")]
)
def test_a_driver_that_does_not_start_says_why(
    reason: bytes | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On machines with NVSwitch, for example, while the fabric manager does not run."""
    told = lacks(monkeypatch, Driver(code=802, reason=reason))
    assert told
    assert told.startswith(f"the NVIDIA driver shows no GPU: {said}")
    assert told.endswith(" (CUDA error 802)")


def test_of_other_releases_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "gpu_capability", lambda _: (7, 0))
    assert without_code(0, "9.9.9") is None


@pytest.mark.parametrize("lock", ["cuda", "cuda-dev", "tensorrt"])
def test_the_facts_are_those_of_the_locked_release(lock: str) -> None:
    """After an upgrade, read the device code of both packages anew."""
    text = (ROOT / f"requirements/{lock}.txt").read_text()
    [(release, marker)] = re.findall(r"^onnxruntime-gpu==(\S+)(.*)", text, re.MULTILINE)
    assert release == RELEASE
    assert all(machine in marker for machine in DEVICE_CODE)


def test_on_aarch64_tensorrt_is_not_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert missing("onnxruntime", Device("tensorrt")) == (
        "onnxruntime-gpu for aarch64 has no TensorRT, which the one for x86-64 has; use cuda"
    )
