"""What the tests of foreign clients share: tritonclient's four, called in one way, and images."""

import asyncio
import importlib
import inspect
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np

GRPC = os.environ.get("SERVER_GRPC", "")
HTTP = os.environ.get("SERVER_HTTP", "")  # host and port
MODEL = "fashion_resnext"
PIXELS = f"{MODEL}_pixels"
LABELS = [
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
]
SAMPLES = sorted((Path(__file__).parents[3] / "examples/images").glob("*.png"))
FILES = [path.read_bytes() for path in SAMPLES]


def truth(path):
    """Return the index of the class that a sample is named for."""
    slugs = [re.sub(r"\W+", "_", label.lower()) for label in LABELS]
    return slugs.index(path.stem.rpartition("_")[0])


TRUTH = [truth(path) for path in SAMPLES]


def encoded(files, *, flat=False):
    """Return files as an array of BYTES, of shape [n, 1] or [n]."""
    array = np.empty(len(files), np.object_)
    array[:] = files
    return array if flat else array.reshape(-1, 1)


def png(grey):
    """Return a PNG file of uint8 (height, width)."""
    rows = np.insert(grey, 0, 0, axis=1).tobytes()  # each begins with its filter: none
    head = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


class Caller:
    """A client of tritonclient: `grpc`, `grpc.aio`, `http` or `http.aio`."""

    def __init__(self, flavour):
        self.flavour = flavour
        self.http = flavour.startswith("http")
        self.module = importlib.import_module(f"tritonclient.{flavour}")
        self._loop = asyncio.new_event_loop()
        self.client = self._loop.run_until_complete(self._connect())

    async def _connect(self):
        return self.module.InferenceServerClient(HTTP if self.http else GRPC)

    def call(self, method, *arguments, **flags):
        """Call a method and return what it gives, in the end."""
        answer = getattr(self.client, method)(*arguments, **flags)
        return self._loop.run_until_complete(answer) if inspect.isawaitable(answer) else answer

    def read(self, method, *arguments):
        """Call a method that returns a description, and return that as parsed JSON."""
        return self.call(method, *arguments, **({} if self.http else {"as_json": True}))

    def given(self, array, name="images", **flags):
        """Return an input with the array as its data."""
        datatype = {"O": "BYTES", "S": "BYTES", "u": "UINT8", "f": "FP32"}[array.dtype.kind]
        given = self.module.InferInput(name, list(array.shape), datatype)
        given.set_data_from_numpy(array, **flags)
        return given

    def infer(self, array, model=MODEL, **flags):
        """Return the result of an inference with one input."""
        return self.call("infer", model, [self.given(array)], **flags)

    def classify(self, array, model=MODEL, **flags):
        """Return the probabilities that an inference with one input gives."""
        return self.infer(array, model, **flags).as_numpy("probabilities")

    def close(self):
        """Close the connections."""
        self.call("close")
        self._loop.close()
