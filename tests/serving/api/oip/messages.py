"""Requests of the protocol as the tests send them."""

from typing import Any

import numpy as np

from images.transform import Pixels
from protos import open_inference_pb2 as pb
from tests.serving.api.messages import png
from tests.support.bundles import SIDE, TRANSFORM, photo

INPUT, OUTPUT = "images", "probabilities"


def files(*images: bytes, rank: int = 2, **more: Any) -> pb.ModelInferRequest:
    """A request of image files, in raw_input_contents."""
    shape = [len(images), 1][:rank]
    raw = b"".join(len(image).to_bytes(4, "little") + image for image in images)
    return infer("BYTES", shape, raw, **{"model_name": "tiny", **more})


def photos(*seeds: int, **more: Any) -> pb.ModelInferRequest:
    """A request of photos as PNG files."""
    return files(*(png(seed).encoded for seed in seeds), **more)


def pixels(images: Pixels, **more: Any) -> pb.ModelInferRequest:
    """A request of pixels (n, height, width, 3), in raw_input_contents."""
    return infer("UINT8", images.shape, images.tobytes(), **{"model_name": "tiny", **more})


def infer(datatype: str, shape: Any, raw: bytes, **more: Any) -> pb.ModelInferRequest:
    """A request of one input."""
    tensor = {"name": INPUT, "datatype": datatype, "shape": shape}
    return pb.ModelInferRequest(inputs=[tensor], raw_input_contents=[raw], **more)


def flat(*values: int, **more: Any) -> pb.ModelInferRequest:
    """Grey images for the fake backend, as the network sees them."""
    images = np.repeat(np.array(values, np.uint8), SIDE * SIDE * 3)
    shape = len(values), SIDE, SIDE, 3
    return pixels(images.reshape(shape), **{"model_name": "tiny_pixels", **more})


def seen(*seeds: int) -> Pixels:
    """Photos as the network sees them."""
    return np.stack([TRANSFORM.from_rgb(np.asarray(photo(seed))) for seed in seeds])


def rows(response: pb.ModelInferResponse) -> "np.ndarray[Any, Any]":
    """Return the probabilities of a response."""
    [output], [raw] = response.outputs, response.raw_output_contents
    assert (output.name, output.datatype) == (OUTPUT, "FP32")
    return np.frombuffer(raw, "<f4").reshape(tuple(output.shape))


def strings(response: pb.ModelInferResponse) -> list[str]:
    """Return the elements of a response's only output, of BYTES."""
    [output], [raw] = response.outputs, response.raw_output_contents
    assert output.datatype == "BYTES"
    found, at = [], 0
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 4], "little")
        found.append(raw[at + 4 : at + 4 + size].decode())
        at += 4 + size
    assert len(found) == np.prod(output.shape)
    return found
