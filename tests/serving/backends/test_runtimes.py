import logging
import sys
from pathlib import Path

import pytest

from bundle.kinds import Format, Precision
from bundle.manifest import MANIFEST, Manifest
from serving.backends import hardware, runtimes
from serving.backends.devices import Device
from serving.backends.hardware import missing
from serving.backends.runtimes import choose, load
from serving.backends.settings import Runtime, RuntimeSettings
from serving.errors import StartupError

Kind = tuple[Format, Precision]
ONNX: Kind = ("onnx", "fp32")
LITE: Kind = ("mindir-lite", "fp32")
CPU, CUDA, ASCEND = Device("cpu"), Device("cuda"), Device("ascend")


def holding(path: Path, *kinds: Kind) -> Manifest:
    """Return the tiny bundle's manifest with other files."""
    stated = Manifest.model_validate_json((path / MANIFEST).read_bytes())
    update = [{"format": f, "precision": p, "path": f"{f}.{p}"} for f, p in kinds]
    files = [stated.files[0].model_copy(update=changed) for changed in update]
    return stated.model_copy(update={"files": files})


@pytest.fixture
def everything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "missing", lambda *_: None)


@pytest.mark.parametrize(
    ("held", "device", "runtime", "chosen"),
    [
        ([ONNX, LITE], CPU, "auto", ONNX),
        ([LITE], CPU, "auto", LITE),
        ([ONNX, LITE], CPU, "mindspore-lite", LITE),
        ([ONNX, LITE], ASCEND, "auto", LITE),
        ([ONNX], ASCEND, "auto", ONNX),
        ([ONNX, LITE], ASCEND, "onnxruntime", ONNX),
        ([LITE, ONNX], CUDA, "auto", ONNX),
        ([("onnx", "fp16"), ONNX], CPU, "auto", ONNX),
        ([ONNX, ("onnx", "fp16")], CUDA, "auto", ("onnx", "fp16")),
        ([ONNX, ("onnx", "int8")], CUDA, "auto", ONNX),
    ],
)
@pytest.mark.usefixtures("everything_runs")
def test_the_file_follows_from_bundle_device_and_runtime(
    tiny: Path, held: list[Kind], device: Device, runtime: Runtime, chosen: Kind
) -> None:
    file = choose(holding(tiny, *held), device, runtime=runtime).file
    assert (file.format, file.precision) == chosen


@pytest.mark.usefixtures("everything_runs")
def test_a_stated_precision_wins(tiny: Path) -> None:
    stated = holding(tiny, ONNX, ("onnx", "fp16"), ("onnx", "int8"))
    assert choose(stated, CPU, "int8").file.precision == "int8"
    assert choose(stated, CPU, "fp16").file.precision == "fp16"


@pytest.mark.usefixtures("everything_runs")
def test_a_choice_is_said(tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    choose(holding(tiny, ONNX), CPU)
    assert "tiny: onnxruntime on cpu is chosen" in caplog.text


@pytest.mark.parametrize(
    ("held", "level", "reason"),
    [
        ([LITE, ONNX], logging.WARNING, "no NPU in mindspore-lite"),
        ([ONNX], logging.INFO, "the bundle holds no mindir-lite file"),
    ],
)
def test_why_a_runtime_is_passed_over_is_said(
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    held: list[Kind],
    level: int,
    reason: str,
) -> None:
    lacks_lite = {"mindspore-lite": "no NPU in mindspore-lite"}
    monkeypatch.setattr(runtimes, "missing", lambda runtime, *_: lacks_lite.get(runtime))
    caplog.set_level(logging.INFO)
    assert choose(holding(tiny, *held), ASCEND).file.format == "onnx"
    said = [(record.levelno, record.message) for record in caplog.records]
    assert said == [
        (level, f"tiny: not mindspore-lite: {reason}"),
        (logging.INFO, "tiny: onnxruntime on ascend:0 is chosen"),
    ]


def test_the_bundle_that_lacks_a_file_says_what_it_holds(tiny: Path) -> None:
    with pytest.raises(StartupError, match=r"holds: onnx fp32.*no onnx file in int8"):
        choose(holding(tiny, ONNX), CPU, "int8", "onnxruntime")


def test_a_runtime_is_not_asked_for_a_device_that_it_does_not_know(tiny: Path) -> None:
    with pytest.raises(StartupError, match="mindspore-lite does not run on cuda:0; use --runtime"):
        choose(holding(tiny, LITE), CUDA, runtime="mindspore-lite")


@pytest.mark.skipif(missing("onnxruntime", CUDA) is None, reason="there is a GPU")
def test_what_a_gpu_lacks_is_named(tiny: Path) -> None:
    with pytest.raises(StartupError, match=r"cannot run on cuda:0: .*(onnxruntime-gpu|no NVIDIA)"):
        choose(holding(tiny, ONNX), CUDA)


@pytest.mark.skipif(missing("onnxruntime", ASCEND) is None, reason="there is an NPU")
def test_what_an_npu_lacks_is_named(tiny: Path) -> None:
    with pytest.raises(StartupError, match=r"cannot run on ascend:0: .*(onnxruntime-cann|no NPU)"):
        choose(holding(tiny, ONNX), ASCEND)


@pytest.mark.parametrize(
    ("precision", "chosen"),
    [(None, "onnxruntime"), ("fp32", "onnxruntime"), ("int8", "openvino"), ("bf16", "openvino")],
)
@pytest.mark.usefixtures("everything_runs")
def test_a_cpu_runs_each_precision_in_its_fastest_runtime(
    tiny: Path, precision: Precision | None, chosen: Runtime
) -> None:
    stated = holding(tiny, ONNX, ("onnx", "int8"), ("onnx", "bf16"))
    choice = choose(stated, CPU, precision)
    assert (choice.runtime, choice.file.precision) == (chosen, precision or "fp32")
    assert choose(stated, CPU, runtime="openvino").runtime == "openvino"


def test_int8_runs_where_openvino_is_not_installed(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "serving.backends.openvino.library", None)
    assert choose(holding(tiny, ("onnx", "int8")), CPU, "int8").runtime == "onnxruntime"
    assert "tiny: not openvino: openvino cannot be imported" in caplog.text


@pytest.mark.parametrize("runtime", ["onnxruntime", "mindspore-lite"])
def test_bf16_is_not_run_as_something_else(tiny: Path, runtime: Runtime) -> None:
    stated = holding(tiny, ("onnx", "bf16"))
    reason = f"{runtime} does not run bf16 on cpu; use --runtime openvino"
    with pytest.raises(StartupError, match=reason):
        choose(stated, CPU, "bf16", runtime)
    with pytest.raises(StartupError, match=reason):
        load(tiny, stated, stated.files[0], device=CPU, runtime=runtime)


@pytest.mark.parametrize(
    ("device", "precision", "reason"),
    [
        ("cuda:1", "int8", "no kernel there for the int32 biases"),
        ("tensorrt", "int8", "TensorRT takes no zero point other than 0"),
        ("cuda", "bf16", "only OpenVINO computes in it, on a CPU"),
    ],
)
@pytest.mark.usefixtures("everything_runs")
def test_a_precision_that_a_gpu_cannot_run_is_refused_before_anything_is_opened(
    tiny: Path, device: str, precision: Precision, reason: str
) -> None:
    stated, gpu = holding(tiny, ("onnx", precision)), Device.parse(device)
    said = f"{precision} does not run on {gpu}: .*{reason}.*; use --precision fp16 or fp32 there"
    with pytest.raises(StartupError, match=said):
        choose(stated, gpu, precision)
    with pytest.raises(StartupError, match=said):
        load(Path("nowhere"), stated, stated.files[0], device=gpu)
    assert runtimes.serving(stated.files[0], gpu) == []


def test_options_of_cuda_are_for_cuda(tiny: Path) -> None:
    stated, chosen = holding(tiny, ONNX), RuntimeSettings(cuda_options=("prefer_nhwc=0",))
    with pytest.raises(StartupError, match=r"--cuda-options are for cuda; .* apply to cpu"):
        load(tiny, stated, stated.files[0], device=CPU, settings=chosen)


def test_a_cpu_that_computes_no_bf16_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "BF16", {"amx_bf32"})
    stated = holding(tiny, ONNX, ("onnx", "bf16"))
    with pytest.raises(StartupError, match="cannot run on cpu: openvino: this CPU cannot compute"):
        choose(stated, CPU, "bf16")
    assert choose(stated, CPU, runtime="openvino").file.precision == "fp32"


def test_an_interpreter_without_lite_is_named(tiny: Path) -> None:
    with pytest.raises(
        StartupError, match=r"cannot import mindspore_lite \(ModuleNotFoundError.*--lite-python"
    ):
        choose(holding(tiny, LITE), CPU, lite_python=Path(sys.executable))
    with pytest.raises(StartupError, match=r"No such file or directory: .*/nowhere/python"):
        choose(holding(tiny, LITE), CPU, lite_python=Path("/nowhere/python"))
