"""The bare loop of MindSpore Lite; one file for Python 3.7 to 3.12, numpy and mindspore_lite.

`python lite_loop.py MODEL THREADS BATCH HEIGHT WIDTH` loads the model and says so; then every line
on stdin, a number of seconds, is answered by the images per second that it ran in that time.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any


def main() -> None:
    """Serve stdin until it ends."""
    stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the library prints there
    model, pixels = _load(*sys.argv[1:])
    _rate(model, pixels, 0.0)
    print("ready", file=stdout, flush=True)
    for line in sys.stdin:
        print(_rate(model, pixels, float(line)), file=stdout, flush=True)


def _load(path: str, threads: str, *shape: str) -> tuple[Any, Any]:
    import mindspore_lite
    import numpy

    context = mindspore_lite.Context()
    context.target = ["cpu"]
    context.cpu.thread_num = int(threads)
    model = mindspore_lite.Model()
    model.build_from_file(path, mindspore_lite.ModelType.MINDIR, context)
    size = [*map(int, shape), 3]
    model.resize(model.get_inputs(), [size])
    return model, numpy.random.RandomState(0).randint(0, 256, size).astype(numpy.uint8)


def _rate(model: Any, pixels: Any, seconds: float) -> float:
    """Run at least one batch, and more until the time is over; return images per second."""
    images, started = 0, time.perf_counter()
    while not images or time.perf_counter() - started < seconds:
        inputs = model.get_inputs()
        inputs[0].set_data_from_numpy(pixels)
        model.predict(inputs)[0].get_data_to_numpy()
        images += len(pixels)
    return images / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
