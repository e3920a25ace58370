"""Requests as the tests send them."""

import io

import numpy as np

from protos import classifier_pb2 as pb
from tests.support.bundles import LABELS, TRANSFORM, photo, probabilities
from tests.support.serving import grey


def png(seed: int) -> pb.Image:
    """A photo as a PNG file."""
    buffer = io.BytesIO()
    photo(seed).save(buffer, "PNG")
    return pb.Image(encoded=buffer.getvalue())


def raw(seed: int) -> pb.Image:
    """The same photo as pixels."""
    rgb = np.asarray(photo(seed))
    height, width, channels = rgb.shape
    image = pb.RawImage(pixels=rgb.tobytes(), height=height, width=width, channels=channels)
    return pb.Image(raw=image)


def flat(value: int) -> pb.Image:
    """A grey image for the fake backend."""
    samples, height, width, channels = grey(value)
    return pb.Image(raw=pb.RawImage(pixels=samples, height=height, width=width, channels=channels))


def expected(seed: int) -> list[tuple[int, str, float]]:
    """(index, label, probability) of the photo, by falling probability, worked out with numpy."""
    row = probabilities(TRANSFORM.from_rgb(np.asarray(photo(seed)))[None])[0]
    order = sorted(range(len(row)), key=lambda index: -row[index])
    return [(index, LABELS[index], float(row[index])) for index in order]
