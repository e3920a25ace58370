from pathlib import Path

import pytest

from bundle.kinds import Precision
from bundle.manifest import MANIFEST, Manifest
from serving.backends.backend import Target
from serving.backends.devices import Device
from serving.backends.ort.library import onnxruntime
from serving.backends.ort.options import Provider, engine_cache, providers
from serving.backends.settings import DEFAULTS, RuntimeSettings

BUCKETS = [1, 4, 8]


def target(
    tiny: Path,
    device: str,
    precision: Precision = "fp32",
    settings: RuntimeSettings = DEFAULTS,
) -> Target:
    manifest = Manifest.model_validate_json((tiny / MANIFEST).read_bytes())
    file = manifest.files[0].model_copy(update={"precision": precision})
    return Target(tiny, manifest, file, Device.parse(device), BUCKETS, settings)


def asked(
    tiny: Path,
    device: str,
    precision: Precision = "fp32",
    settings: RuntimeSettings = DEFAULTS,
) -> list[Provider]:
    return providers(target(tiny, device, precision, settings))


def test_the_cpu_has_no_options(tiny: Path) -> None:
    assert asked(tiny, "cpu") == [("CPUExecutionProvider", {})]


def test_cuda_takes_the_heuristic_records_graphs_and_keeps_fp32(tiny: Path) -> None:
    [(name, options)] = asked(tiny, "cuda:3")
    assert name == "CUDAExecutionProvider"
    assert options == {
        "device_id": "3",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
        "prefer_nhwc": "0",
        "use_tf32": "0",
        "enable_cuda_graph": "1",
    }


def test_fp16_runs_channels_last_and_may_use_tensor_cores(tiny: Path) -> None:
    [(_, options)] = asked(tiny, "cuda", "fp16")
    assert options["prefer_nhwc"] == "1"
    assert "use_tf32" not in options


def test_what_the_operator_chooses_comes_last(tiny: Path) -> None:
    settings = RuntimeSettings(cuda_options=("fuse_conv_bias=1", "enable_cuda_graph=0"))
    [(_, options)] = asked(tiny, "cuda", settings=settings)
    assert (options["fuse_conv_bias"], options["enable_cuda_graph"]) == ("1", "0")
    assert options["use_tf32"] == "0"


@pytest.mark.parametrize(
    ("device", "option"),
    [
        ("cuda", "gpu_mem_limit"),
        ("ascend", "npu_mem_limit"),
    ],
)
def test_memory_is_bounded_where_asked(tiny: Path, device: str, option: str) -> None:
    assert option not in asked(tiny, device)[0][1]
    limited = asked(tiny, device, settings=RuntimeSettings(device_memory_mib=512))
    assert limited[0][1][option] == str(512 * 1024 * 1024)


def test_tensorrt_builds_one_engine_for_all_buckets_and_keeps_it(tiny: Path) -> None:
    settings = RuntimeSettings(cache_dir=Path("/cache"))
    (name, options), (beside, cuda) = asked(tiny, "tensorrt:1", "fp16", settings)
    assert (name, beside) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert options["trt_profile_min_shapes"] == "images:1x16x16x3"
    assert options["trt_profile_opt_shapes"] == "images:8x16x16x3"
    assert options["trt_profile_max_shapes"] == "images:8x16x16x3"
    assert options["trt_fp16_enable"] == "1"
    assert (options["device_id"], cuda["device_id"]) == ("1", "1")
    assert not {"enable_cuda_graph", "use_tf32"} & {*cuda}
    opened = target(tiny, "tensorrt:1", "fp16", settings)
    folder = f"/cache/tensorrt/onnxruntime-{onnxruntime.__version__}/{opened.file.sha256}"
    assert options["trt_engine_cache_path"] == folder
    assert engine_cache(opened) == Path(options["trt_timing_cache_path"])


def test_ascend_keeps_the_working_directory_clean(tiny: Path) -> None:
    [(name, options)] = asked(tiny, "ascend:5")
    assert name == "CANNExecutionProvider"
    assert (options["device_id"], options["dump_om_model"]) == ("5", "0")
