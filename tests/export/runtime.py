"""ONNX Runtime as a user meets it, warnings and all."""

import subprocess
import sys
from pathlib import Path

# A process of its own: ONNX Runtime's warnings go to its stderr and to nothing else.
RUN_VERBOSELY = """
import sys, numpy
from serving.backends.ort.library import onnxruntime
onnxruntime.set_default_logger_severity(2)
session = onnxruntime.InferenceSession(sys.argv[1])
for batch in (1, 2, 5):
    session.run(None, {"images": numpy.zeros((batch, 28, 28, 3), numpy.uint8)})
"""


def has_nothing_to_say(path: Path) -> bool:
    """Run a file in batches of several sizes; tell whether that passed without a warning."""
    command = [sys.executable, "-c", RUN_VERBOSELY, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stderr == ""
