import pytest

from serving.backends import hardware
from serving.backends.devices import Device
from serving.backends.hardware import missing, present


@pytest.mark.skipif(bool(present("cuda")), reason="there is a GPU")
def test_without_a_driver_that_is_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_missing_package", lambda _: None)
    assert "NVIDIA driver" in (missing("onnxruntime", Device("cuda", 1)) or "")


def test_a_device_beyond_the_last_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_missing_package", lambda _: None)
    monkeypatch.setattr(hardware, "count_gpus", lambda: 2)
    assert missing("onnxruntime", Device("cuda", 2)) == (
        "no GPU 2: the driver shows 2, counted from 0"
    )
    assert "no NPU 7: there are " in (missing("onnxruntime", Device("ascend", 7)) or "")


def test_a_provider_that_cannot_be_loaded_is_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hardware, "_missing_package", lambda _: None)
    monkeypatch.setattr(hardware, "_missing_hardware", lambda _: None)
    reason = missing("onnxruntime", Device("cuda"))
    assert reason is not None
    assert reason.startswith("CUDAExecutionProvider cannot be loaded: OSError: ")
    assert "libonnxruntime_providers_" in reason


def test_the_libraries_of_tensorrt_are_named_with_what_brings_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hardware, "_missing_package", lambda _: None)
    monkeypatch.setattr(hardware, "_missing_hardware", lambda _: None)
    monkeypatch.setattr(hardware, "_failure", lambda *_: "OSError: libnvinfer.so.10: no such file")
    assert missing("onnxruntime", Device("tensorrt")) == (
        "TensorrtExecutionProvider cannot be loaded: OSError: libnvinfer.so.10: no such file; "
        "install TensorRT 10 (extra `tensorrt`)"
    )
