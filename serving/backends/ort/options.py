"""ONNX Runtime's execution providers and their options, from our settings.

Sources: the provider pages of onnxruntime.ai (CUDA, TensorRT, CANN) and, where they lag behind, the
names that the libraries of onnxruntime-gpu 1.31.1 and onnxruntime-cann 1.24.4 hold.
"""

from collections.abc import Sequence
from pathlib import Path

from bundle.manifest import Manifest, ModelFile
from serving.backends.devices import Device, Kind
from serving.backends.settings import RuntimeSettings

Options = dict[str, str]
Provider = tuple[str, Options]

PROVIDERS: dict[Kind, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "ascend": "CANNExecutionProvider",
}
MIB = 2**20


def providers(
    manifest: Manifest,
    file: ModelFile,
    device: Device,
    buckets: Sequence[int],
    settings: RuntimeSettings,
) -> list[Provider]:
    """Return the providers to ask for, best first; the first one must do the work."""
    if device.kind == "cpu":
        return [(PROVIDERS["cpu"], {})]
    if device.kind == "ascend":
        return [(PROVIDERS["ascend"], _cann(device, settings))]
    cuda = _cuda(file, device, settings)
    if device.kind == "cuda":
        return [(PROVIDERS["cuda"], {**cuda, "enable_cuda_graph": "1"})]
    tensorrt = _tensorrt(manifest, file, device, buckets, settings)
    # CUDA beside it, for shape arithmetic and for the memory of what is bound.
    return [(PROVIDERS["tensorrt"], tensorrt), (PROVIDERS["cuda"], cuda)]


def engine_cache(file: ModelFile, settings: RuntimeSettings) -> Path:
    """Return the folder of the engines that TensorRT built from exactly this file.

    Per version of ONNX Runtime, which says what of the graph becomes an engine.
    """
    from onnxruntime import __version__

    return settings.cache_dir / "tensorrt" / f"onnxruntime-{__version__}" / "-".join(file.digests)


def _cuda(file: ModelFile, device: Device, settings: RuntimeSettings) -> Options:
    return {
        "device_id": str(device.ordinal),
        # The exhaustive search, ONNX Runtime's default, runs anew for every new batch size.
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
        # Tensor cores want channels last in fp16.
        "prefer_nhwc": str(int(file.precision == "fp16")),
        # ONNX Runtime's default rounds the factors of fp32 products to 10 bits.
        "use_tf32": "0",
        **_limit("gpu_mem_limit", settings),
    }


def _tensorrt(
    manifest: Manifest,
    file: ModelFile,
    device: Device,
    buckets: Sequence[int],
    settings: RuntimeSettings,
) -> Options:
    cache = str(engine_cache(file, settings))
    smallest, largest = (_shape(manifest, images) for images in (buckets[0], buckets[-1]))
    return {
        "device_id": str(device.ordinal),
        "trt_fp16_enable": str(int(file.precision == "fp16")),
        "trt_int8_enable": str(int(file.precision == "int8")),
        # One engine for all buckets, tuned for the largest.
        "trt_profile_min_shapes": smallest,
        "trt_profile_opt_shapes": largest,
        "trt_profile_max_shapes": largest,
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": cache,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": cache,
    }


def _shape(manifest: Manifest, images: int) -> str:
    crop = manifest.transform.crop
    return f"{manifest.input.name}:{images}x{crop.height}x{crop.width}x3"


def _cann(device: Device, settings: RuntimeSettings) -> Options:
    return {
        "device_id": str(device.ordinal),
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cann_graph": "1",
        # Its default writes a compiled model into the working directory.
        "dump_om_model": "0",
        "op_select_impl_mode": "high_precision",
        **_limit("npu_mem_limit", settings),
    }


def _limit(name: str, settings: RuntimeSettings) -> Options:
    limit = settings.device_memory_mib
    return {} if limit is None else {name: str(limit * MIB)}
