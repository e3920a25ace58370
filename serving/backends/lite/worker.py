"""MindSpore Lite in a process of its own: one file for Python 3.7 to 3.12, numpy, mindspore_lite.

`process.py` starts it as `PYTHON worker.py PIPE MEMORY`, two open descriptors. The pipe is a
SOCK_SEQPACKET socket. The first message is the settings, answered by what is in use, both in JSON.
Every further message is a batch size, as `BUCKET`, answered by `SECONDS` once the batch was read
from the memory and its probabilities are written there. A failure is answered by JSON with an
`error`.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import platform
import select
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable  # noqa: UP035 - of 3.7

import numpy

PROTOCOL = 1
BUCKET = struct.Struct("<I")
SECONDS = struct.Struct("<d")
LONGEST_MESSAGE = 65536
LONGEST_ERROR = 4000
# What MindSpore Lite loads to run a model on an NPU; it needs libraries of CANN. In the package of
# 2.0 its name ends in _python.so.
PLUGIN = "libascend_kernel_plugin"


def main() -> None:
    """Run batches until the other side of the pipe closes."""
    del sys.path[0]  # this folder: its modules must not be taken for installed ones
    pipe = socket.socket(fileno=int(sys.argv[1]))
    threading.Thread(target=_end_with_server, args=(pipe.fileno(),), daemon=True).start()
    try:
        run = _start(pipe, json.loads(_receive(pipe).decode()), int(sys.argv[2]))
        while True:
            [bucket] = BUCKET.unpack(_receive(pipe))
            pipe.send(_answer(run, bucket))
    except (EOFError, ConnectionError):
        pass


def _start(pipe: socket.socket, settings: dict[str, Any], memory: int) -> Callable[[int], float]:
    try:
        run, state = load(settings, memory)
    except Exception as error:
        pipe.send(_failure(error))
        raise
    pipe.send(json.dumps(state).encode())
    return run


def _answer(run: Callable[[int], float], bucket: int) -> bytes:
    try:
        return SECONDS.pack(run(bucket))
    except Exception as error:  # noqa: BLE001 - raised again on the other side
        return _failure(error)


def load(settings: dict[str, Any], memory: int) -> tuple[Callable[[int], float], dict[str, Any]]:
    """Return a function that runs a batch of a size and returns seconds, and what is in use."""
    if settings["protocol"] != PROTOCOL:
        raise RuntimeError(
            f"the worker speaks protocol {PROTOCOL}, the server {settings['protocol']}"
        )
    import mindspore_lite

    context = make_context(mindspore_lite, settings)
    model = mindspore_lite.Model()
    try:
        model.build_from_file(settings["model"], mindspore_lite.ModelType.MINDIR, context)
    except RuntimeError as error:
        reason = unloadable(mindspore_lite) if settings["device"] == "ascend" else ""
        if not reason:
            raise
        raise RuntimeError(f"{str(error).rstrip('.')}; {reason}") from error
    state = read_back(context)
    state["python"] = platform.python_version()
    state["mindspore_lite"] = mindspore_lite.version.__version__
    state["inputs"] = [[tensor.dtype.name, tensor.shape] for tensor in model.get_inputs()]
    return Model(model, settings, memory).run, state


def unloadable(mindspore_lite: Any) -> str:
    """Return why the plugin for NPUs cannot be loaded; empty if it can.

    The library itself says only that the model could not be built.
    """
    package = Path(mindspore_lite.__file__).parent
    found = sorted(package.glob(f"lib/{PLUGIN}*.so"))
    if not found:
        return f"this package of MindSpore Lite is not built for Ascend: it has no {PLUGIN}"
    try:
        ctypes.CDLL(str(found[0]))
    except OSError as error:
        reason = f"{found[0].name} cannot be loaded: {error}; source CANN's set_env.sh first"
        if mindspore_lite.version.__version__.startswith("2.0."):
            reason += ". MindSpore Lite 2.0 is for CANN 6 and 7: beside CANN 8 use 2.3 or later"
        return reason
    return ""


def make_context(mindspore_lite: Any, settings: dict[str, Any]) -> Any:
    """Return the Context (`mindspore_lite/context.py` of 2.0) that `settings` describe."""
    context = mindspore_lite.Context()
    context.target = [settings["device"]]
    context.cpu.thread_num = settings["threads"]
    if settings["device"] == "cpu":
        context.cpu.precision_mode = settings["precision_mode"]
    else:
        context.ascend.device_id = settings["device_id"]
        context.ascend.precision_mode = settings["precision_mode"]
    return context


def read_back(context: Any) -> dict[str, Any]:
    """Return what a Context holds, under the names of the settings."""
    [device] = context.target
    info = context.cpu if device == "cpu" else context.ascend
    return {
        "device": device,
        "device_id": getattr(info, "device_id", 0),
        "precision_mode": info.precision_mode,
        "threads": context.cpu.thread_num,
    }


class Model:
    """A model, and the memory for its batches (see `process.Memory`)."""

    def __init__(self, model: Any, settings: dict[str, Any], memory: int) -> None:
        shared = mmap.mmap(memory, os.fstat(memory).st_size)
        image, classes = settings["image"], settings["classes"]
        self._model = model
        self._bucket = 0
        self._pixels: dict[int, Any] = {}
        self._answers: dict[int, Any] = {}
        for bucket, pixels, answers in settings["layout"]:
            size = bucket * image[0] * image[1] * image[2]
            flat = numpy.frombuffer(shared, numpy.uint8, size, pixels)
            self._pixels[bucket] = flat.reshape([bucket, *image])
            rows = numpy.frombuffer(shared, numpy.float32, bucket * classes, answers)
            self._answers[bucket] = rows.reshape(bucket, classes)

    def run(self, bucket: int) -> float:
        """Run the batch of that size; return the seconds that it took."""
        started = time.perf_counter()
        pixels = self._pixels[bucket]
        if bucket != self._bucket:
            self._bucket = 0  # unknown if it fails halfway
            self._model.resize(self._model.get_inputs(), [list(pixels.shape)])
            self._bucket = bucket
        inputs = self._model.get_inputs()
        inputs[0].set_data_from_numpy(pixels)
        [output] = self._model.predict(inputs)
        answers = output.get_data_to_numpy()
        if answers.shape != self._answers[bucket].shape or answers.dtype != numpy.float32:
            raise RuntimeError(f"the model gave {answers.dtype} {answers.shape}")
        self._answers[bucket][:] = answers
        return time.perf_counter() - started


def _end_with_server(pipe: int) -> None:
    """End this process when the other side of the pipe is gone, even in the middle of a batch.

    The system's own way (PR_SET_PDEATHSIG) looks at the thread that has started this process, which
    ends before the server does, and at the parent, which may be a script.
    """
    hung_up = select.poll()
    hung_up.register(pipe, 0)  # no event but those that are always reported: hang-up and error
    hung_up.poll()
    os._exit(0)


def _receive(pipe: socket.socket) -> bytes:
    message = pipe.recv(LONGEST_MESSAGE)
    if not message:
        raise EOFError
    return message


def _failure(error: Exception) -> bytes:
    text = f"{type(error).__name__}: {error}"[:LONGEST_ERROR]
    return json.dumps({"error": text, "memory": isinstance(error, MemoryError)}).encode()


if __name__ == "__main__":
    main()
