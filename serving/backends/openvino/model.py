"""Compiles models that run as configured, or raises: nothing falls back."""

import logging
from pathlib import Path

from bundle.files import held
from bundle.manifest import Precision
from bundle.stamp import check_stamp
from serving.backends.backend import Target
from serving.backends.graph import Found, check_graph
from serving.backends.hardware import missing
from serving.backends.openvino.library import FrontEndManager, core, openvino
from serving.errors import StartupError

logger = logging.getLogger(__name__)

DEVICE = "CPU"
DTYPES = {"u8": "uint8", "f32": "float32"}
# What the operators compute in that the file leaves in float. OpenVINO itself takes bf16 or fp16
# for every file where the CPU has it. fp32 around int8 keeps the tolerance that was measured.
FLOATS: dict[Precision, str] = {"fp32": "f32", "fp16": "f32", "int8": "f32", "bf16": "bf16"}


def compile_model(target: Target, instances: int) -> openvino.CompiledModel:
    """Compile the target's file so that this many batches run at once and share the weights.

    Raises:
        StartupError: something is missing for that, or OpenVINO computes in another precision.
        BundleError: the file is not the one that the manifest states.
    """
    if reason := missing("openvino", target.device, None, target.file.precision):
        raise StartupError(f"device {target.device}: {reason}")
    with held(target.root, target.file.parts) as descriptors:
        model = _read(target, descriptors[target.file.path])
        inputs, outputs = [_found(port) for port in model.inputs], [*map(_found, model.outputs)]
        check_graph(target, inputs, outputs)
        check_stamp(target.path, target.manifest, target.file, _metadata(model))
        compiled = _compile(target, model, instances)
    _check_settings(target, compiled)
    return compiled


def _read(target: Target, descriptor: int) -> openvino.Model:
    # External data is looked for beside the path.
    path = target.path if target.file.external_data else Path(f"/proc/self/fd/{descriptor}")
    # `Core.read_model` would try every other format that OpenVINO knows.
    if not FrontEndManager().load_by_framework("onnx").supported(str(path)):
        raise _refused(target, "it is no ONNX file")
    try:
        # It releases Python's lock, which the frontend's own `load` and `convert` keep: for 0.8 s
        # with the full network, in which a server that loads a new version would answer nobody.
        # Without memory maps: a file that is changed later must not change the model.
        return core.read_model(path, config={"ENABLE_MMAP": False})
    except Exception as error:
        raise _refused(target, str(error)) from error


def _compile(target: Target, model: openvino.Model, instances: int) -> openvino.CompiledModel:
    settings = {
        "INFERENCE_PRECISION_HINT": FLOATS[target.file.precision],
        # A stream runs one batch at a time; OpenVINO makes no more of them than there are cores.
        "NUM_STREAMS": instances,
        "INFERENCE_NUM_THREADS": instances * target.settings.threads,
        # Instances and threads are counted in logical cores. Unless told so, OpenVINO uses one of
        # the two that a core has, and gives half of the threads.
        "ENABLE_HYPER_THREADING": True,
        # Decoding needs the same cores: threads that stay on theirs would wait for it.
        "ENABLE_CPU_PINNING": False,
    }
    try:
        return core.compile_model(model, DEVICE, settings)
    except Exception as error:
        raise _refused(target, str(error)) from error


def _refused(target: Target, why: str) -> StartupError:
    # Paragraphs about where in OpenVINO's source it happened, ending with what happened.
    reason = " ".join(why.split())
    return StartupError(f"{target.path}: OpenVINO cannot load it on {target.device}: {reason}")


def _found(port: openvino.Output) -> Found:
    names, shape = port.get_names(), port.partial_shape
    dtype = port.element_type.get_type_name()
    fixed = shape.rank.is_static and len(shape) and shape[0].is_static
    batch = shape[0].get_length() if fixed else None
    return Found(min(names, default=""), DTYPES.get(dtype, dtype), batch)


def _metadata(model: openvino.Model) -> dict[str, str]:
    """Return the metadata of the ONNX file, which OpenVINO keeps by this name."""
    found = model.get_rt_info("framework").value if model.has_rt_info("framework") else {}
    return {key: str(value) for key, value in found.items()}


def _check_settings(target: Target, compiled: openvino.CompiledModel) -> None:
    """Raise `StartupError` unless the model runs in the precision asked for.

    Fewer threads only cost time. How many there may be is OpenVINO's affair (it may keep to one
    socket), so they cost a warning.
    """
    asked = FLOATS[target.file.precision]
    used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if used != asked:
        raise StartupError(
            f"{target.path}: {target.file.precision} was asked for, which OpenVINO computes in "
            f"{asked}, but it uses {used} on this CPU"
        )
    streams = compiled.get_property("NUM_STREAMS")
    threads = compiled.get_property("INFERENCE_NUM_THREADS") // streams
    if threads != target.settings.threads:
        logger.warning(
            "%s: OpenVINO runs a batch on %d threads, not on %d: it uses no more than there are "
            "cores",
            target.path,
            threads,
            target.settings.threads,
        )
    logger.debug("%s: OpenVINO runs %d batches at once", target.path, streams)
