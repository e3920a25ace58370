import json
import subprocess
import sys

import pytest

from serving.backends import hardware as machine
from serving.backends.devices import Device
from serving.backends.hardware import missing, present


def devices(*flags: str) -> str:
    command = [sys.executable, "-m", "serving", "devices", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == ""
    return done.stdout


def test_the_list_names_what_runs_and_what_the_rest_lacks() -> None:
    found = {
        (row["device"], row["runtime"]): row["missing"] for row in json.loads(devices("--json"))
    }
    assert found["cpu", "onnxruntime"] is None
    assert {device.partition(":")[0] for device, _ in found} == {
        "cpu",
        "cuda",
        "tensorrt",
        "ascend",
    }
    assert {runtime for device, runtime in found if device == "ascend:0"} == {
        "mindspore-lite",
        "onnxruntime",
    }
    assert "onnxruntime-cann" in found["ascend:0", "onnxruntime"]


def test_the_table_has_a_line_for_each() -> None:
    lines = devices("--lite-python", sys.executable).splitlines()
    [cpu] = [line for line in lines if line.startswith("cpu") and "onnxruntime" in line]
    assert cpu.split() == ["cpu", "onnxruntime", "yes"]
    [lite] = [line for line in lines if line.startswith("cpu") and "mindspore-lite" in line]
    assert "no" in lite.split()
    assert "--lite-python" in lite


@pytest.mark.skipif(bool(present("cuda")), reason="there is a GPU")
def test_without_a_driver_that_is_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_package", lambda _: None)
    assert "NVIDIA driver" in (missing("onnxruntime", Device("cuda", 1)) or "")


def test_a_device_beyond_the_last_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_package", lambda _: None)
    monkeypatch.setattr(machine, "_count_gpus", lambda: (2, None))
    assert missing("onnxruntime", Device("cuda", 2)) == (
        "no GPU 2: the driver shows 2, counted from 0"
    )
    assert "there is no /dev/davinci7" in (missing("onnxruntime", Device("ascend", 7)) or "")


def test_a_provider_that_cannot_be_loaded_is_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "_package", lambda _: None)
    monkeypatch.setattr(machine, "_hardware", lambda _: None)
    reason = missing("onnxruntime", Device("cuda"))
    assert reason is not None
    assert reason.startswith("CUDAExecutionProvider cannot be loaded: OSError: ")
    assert "libonnxruntime_providers_" in reason


def test_a_server_for_a_device_that_is_not_there_does_not_start() -> None:
    command = [sys.executable, "-m", "serving", "--model", "models/fashion_resnext/1"]
    command += ["--device", "cuda:99", "--grpc-port", "0", "--http-port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "cannot run on cuda:99: onnxruntime: " in done.stderr
    assert "Traceback" not in done.stderr
