"""What runs in the interpreter that has mindspore_lite; one file for Python 3.7 to 3.12.

`python worker.py SETTINGS`, a JSON object: model, output (without suffix), optimize, and optionally
input_shape and config_file. Prints the library's version.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    """Convert, or end with a traceback."""
    del sys.path[0]  # our folder: its modules must not shadow installed ones
    stdout = os.dup(1)
    os.dup2(2, 1)  # the library prints there
    settings = json.loads(sys.argv[1])

    import mindspore_lite

    converter = mindspore_lite.Converter()
    converter.save_type = mindspore_lite.ModelType.MINDIR
    try:
        converter.optimize = settings["optimize"]
    except ValueError as error:
        sys.exit(refusal(settings["optimize"], mindspore_lite.version.__version__, error))
    if "input_shape" in settings:
        converter.input_shape = settings["input_shape"]
    kind, config_file = mindspore_lite.FmkType.ONNX, settings.get("config_file", "")
    converter.convert(kind, settings["model"], settings["output"], config_file=config_file)
    os.write(stdout, mindspore_lite.version.__version__.encode())


def refusal(optimize: str, version: str, error: ValueError) -> str:
    """Return what to say of an NPU model that the converter of this version does not take."""
    soc = optimize.partition(":")[2]
    taken = "takes none: leave --soc out" if version.startswith("2.0.") else "may take 910b only"
    return f"--soc {soc} is refused; the converter of MindSpore Lite {version} {taken} ({error})"


if __name__ == "__main__":
    main()
