"""Memory of models that goes from process to process, and to which nobody writes any more."""

import mmap
import os

import pytest

from serving.backends.sealed import SealedModel, memory
from serving.errors import StartupError


def sealed(content: bytes = b"weights") -> SealedModel:
    descriptor = memory()
    os.write(descriptor, content)
    model = SealedModel("ONNX Runtime 1", {"weights": descriptor})
    model.seal()
    return model


def test_nobody_can_write_to_it_or_unseal_it() -> None:
    model = sealed()
    descriptor = model.parts["weights"]
    for change in (
        lambda: os.pwrite(descriptor, b"others", 0),
        lambda: os.truncate(descriptor, 0),
        lambda: os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_TRUNC),
        lambda: mmap.mmap(descriptor, 0),
    ):
        with pytest.raises(PermissionError):
            change()
    assert os.pread(descriptor, 100, 0) == b"weights"
    model.seal()  # again, it does nothing


def test_what_somebody_writes_to_cannot_be_sealed() -> None:
    descriptor = memory()
    os.write(descriptor, b"weights")
    model = SealedModel("ONNX Runtime 1", {"weights": descriptor})
    with mmap.mmap(descriptor, 0), pytest.raises(OSError, match="busy"):
        model.seal()


def test_its_descriptors_end_with_it() -> None:
    model = sealed()
    descriptor = model.parts["weights"]
    del model
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_it_is_for_the_library_that_has_made_it() -> None:
    model = sealed()
    model.check_made_by("ONNX Runtime 1")
    with pytest.raises(StartupError, match=r"ONNX Runtime 1 is installed now.* restart it"):
        model.check_made_by("ONNX Runtime 2")
