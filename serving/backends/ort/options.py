"""ONNX Runtime's execution providers and their options, from our settings.

Sources: the provider pages of onnxruntime.ai (CUDA, TensorRT, CANN) and, for what they do not list,
the option names in the libraries of onnxruntime-gpu 1.31.1 and onnxruntime-cann 1.24.4.
"""

from pathlib import Path

from serving.backends.backend import Target
from serving.backends.devices import Kind
from serving.errors import StartupError

Options = dict[str, str]
Provider = tuple[str, Options]

PROVIDERS: dict[Kind, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "ascend": "CANNExecutionProvider",
}
MIB = 2**20


def providers(target: Target) -> list[Provider]:
    """Return the providers to ask for, best first; the first one must do the work."""
    kind = target.device.kind
    if kind == "cpu":
        return [(PROVIDERS["cpu"], {})]
    if kind == "ascend":
        return [(PROVIDERS["ascend"], _cann(target))]
    cuda = _cuda(target)
    if kind == "cuda":
        chosen = dict(option.split("=", 1) for option in target.settings.cuda_options)
        return [(PROVIDERS["cuda"], {**cuda, "enable_cuda_graph": "1"} | chosen)]
    # CUDA too, for shape arithmetic and for the memory of bound inputs and outputs.
    return [(PROVIDERS["tensorrt"], _tensorrt(target)), (PROVIDERS["cuda"], cuda)]


def engine_cache(target: Target) -> Path:
    """Return the folder of the engines that TensorRT built from exactly this file.

    There is one per version of ONNX Runtime, which decides which parts of a graph become engines.
    Raises `StartupError` if there is no folder for them.
    """
    from serving.backends.ort.library import onnxruntime

    folder = target.settings.cache_dir
    if folder is None:
        raise StartupError(
            "TensorRT's engines are kept in a folder, and this user has no home for one: set "
            "--cache-dir"
        )
    return (
        folder
        / "tensorrt"
        / f"onnxruntime-{onnxruntime.__version__}"
        / "-".join(target.file.digests)
    )


def _cuda(target: Target) -> Options:
    return {
        "device_id": str(target.device.ordinal),
        # cuDNN 9's heuristic mode A; ONNX Runtime's default, EXHAUSTIVE, is mode B. Neither times
        # anything.
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
        # Tensor cores want channels last in fp16.
        "prefer_nhwc": str(int(target.file.precision == "fp16")),
        **_tf32(target),
        **_memory_limit("gpu_mem_limit", target),
    }


def _tf32(target: Target) -> Options:
    """Have fp32 computed in fp32: the default rounds the factors of its products to 10 bits.

    Not for fp16: ONNX Runtime takes `use_tf32=0` for a ban of all of cuDNN's engines that use
    tensor cores, whatever the type of the convolution (its nn/conv.cc, 1.31).
    """
    return {"use_tf32": "0"} if target.file.precision == "fp32" else {}


def _tensorrt(target: Target) -> Options:
    cache = str(engine_cache(target))
    smallest, largest = _shape(target, target.buckets[0]), _shape(target, target.buckets[-1])
    return {
        "device_id": str(target.device.ordinal),
        "trt_fp16_enable": str(int(target.file.precision == "fp16")),
        # One engine for all buckets, tuned for the largest.
        "trt_profile_min_shapes": smallest,
        "trt_profile_opt_shapes": largest,
        "trt_profile_max_shapes": largest,
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": cache,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": cache,
    }


def _shape(target: Target, images: int) -> str:
    shape = "x".join(map(str, (images, *target.image_shape)))
    return f"{target.manifest.input.name}:{shape}"


def _cann(target: Target) -> Options:
    return {
        "device_id": str(target.device.ordinal),
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cann_graph": "1",
        # Its default writes a compiled model into the working directory.
        "dump_om_model": "0",
        "op_select_impl_mode": "high_precision",
        **_memory_limit("npu_mem_limit", target),
    }


def _memory_limit(option: str, target: Target) -> Options:
    limit_mib = target.settings.device_memory_mib
    return {} if limit_mib is None else {option: str(limit_mib * MIB)}
