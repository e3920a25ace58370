"""`python -m benchmarks.fake_server`: the server on a device that needs no core.

It takes the flags of `python -m serving`. The device computes nothing: every class has the same
probability, and whatever a core does is the server's own work.
"""

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from bundle.manifest import Manifest
from images.transform import Pixels
from serving.__main__ import main
from serving.backends.backend import Placement, Probabilities

# As a fast GPU it takes no core meanwhile, and can run more than any server can send.
BATCH_S = 0.001


class FakeDevice:
    """A backend that reads nothing and computes nothing, and takes its time for that."""

    def __init__(self, manifest: Manifest) -> None:
        crop, self._classes = manifest.transform.crop, len(manifest.labels)
        self._shape = crop.height, crop.width, 3

    def allocate(self, bucket: int) -> Pixels:
        """Return a uint8 buffer (bucket, height, width, 3)."""
        return np.zeros((bucket, *self._shape), np.uint8)

    def run(self, buffer: Pixels, images: int) -> Probabilities:  # noqa: ARG002
        """Return float32 (images, classes), all alike."""
        time.sleep(BATCH_S)
        return np.full((images, self._classes), 1 / self._classes, np.float32)

    def describe(self) -> Placement:
        """Return what it is."""
        return Placement("fake", "cpu", "fp32")

    def trim(self) -> None:
        """Do nothing."""

    def widen(self, threads: int) -> None:
        """Return None: it has no threads."""

    def close(self) -> None:
        """Do nothing."""


def fake_devices() -> None:
    """Have models run on fake devices, which prove nothing."""
    from serving import loader
    from serving.proof import Prover

    def load(_path: object, manifest: Manifest, *_: object, **flags: Any) -> Sequence[FakeDevice]:
        return [FakeDevice(manifest) for _ in range(flags["instances"])]

    loader.load = load  # type: ignore[assignment, attr-defined]
    Prover.prove = lambda *_, **__: None  # type: ignore[method-assign]


if __name__ == "__main__":
    # As `serving` does, before gRPC is imported.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
    fake_devices()
    sys.exit(main())
