"""What libraries raise, as one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

from bundle.store import BundleError
from export.errors import ExportError
from training.errors import TrainingError

LONGEST_REASON = 600


@contextmanager
def told(what: str) -> Iterator[None]:
    """Raise `ExportError`, "<what>: <reason>", for whatever a library raises in the block.

    For steps whose input is a stranger's file: onnx, ONNX Runtime, protobuf and numpy share no base
    class of their errors, and which of them notices depends on what is wrong.
    """
    try:
        yield
    except (ExportError, BundleError, TrainingError):
        raise
    except Exception as error:
        raise ExportError(f"{what}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """Return the message of an error in one line, its type if it has none."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."
