"""Between the client's types and the wire: requests are built and responses read only here."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import grpc
import numpy as np
from numpy.typing import NDArray

from clients.errors import ClassifierError
from clients.reading import read_file
from clients.types import (
    ClassScore,
    ImageFailure,
    ImageSource,
    ModelInfo,
    Prediction,
    Timing,
    VersionLabel,
)
from protos import classifier_pb2 as pb

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""Largest request and largest response; the server's limit is the same."""


_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def classify_request(
    images: Sequence[ImageSource],
    *,
    top_k: int,
    model: str,
    version: str,
    full_probabilities: bool,
) -> pb.ClassifyRequest:
    """Return the message for these images.

    Raises:
        TypeError: `images` is not a sequence of images.
        ValueError: it is empty, an array is not an image, or the message exceeds the limit.
        OSError: a file cannot be read, is none (a pipe, a device), or exceeds the limit.
    """
    if isinstance(images, (bytes, str, Path, np.ndarray)):
        raise TypeError(f"images must be a list of images, got one {type(images).__name__}")
    if not images:
        raise ValueError("no images: a request carries at least one")
    request = pb.ClassifyRequest(
        images=[_image(image) for image in images],
        top_k=top_k,
        model=model,
        version=version,
        full_probabilities=full_probabilities,
    )
    if request.ByteSize() > MAX_MESSAGE_BYTES:
        raise ValueError(
            f"the request has {request.ByteSize()} bytes, the limit is {MAX_MESSAGE_BYTES}; "
            f"send fewer images at once"
        )
    return request


def results(response: pb.ClassifyResponse, images: int) -> list[Prediction | ImageFailure]:
    """Return one result per image, in order; `images` is how many were sent."""
    if len(response.results) != images:
        raise ClassifierError(
            grpc.StatusCode.INTERNAL,
            f"the server gave {len(response.results)} results for {images} images",
        )
    found = [_result(response, result) for result in response.results]
    if images == 1 and isinstance(found[0], ImageFailure):
        raise ClassifierError(found[0].code, found[0].message)
    return found


def model_info(model: pb.Model) -> ModelInfo:
    """Return what the server says of a model."""
    return ModelInfo(
        name=model.name,
        version=model.version,
        digest=model.digest,
        architecture=model.architecture,
        labels=tuple(model.labels),
        height=model.height,
        width=model.width,
        transform_json=model.transform_json,
        runtime=model.runtime,
        device=model.device,
        precision=model.precision,
        buckets=tuple(model.buckets),
        top1=model.top1,
        max_images_per_request=model.max_images_per_request,
        ready=model.ready,
        task=model.task or "multiclass",  # a server that is older than the field
        version_labels=version_labels(model.version_labels),
    )


def version_labels(labels: Iterable[pb.VersionLabel]) -> tuple[VersionLabel, ...]:
    """Return labels of versions."""
    return tuple(VersionLabel(one.label, one.version, one.share) for one in labels)


def _image(image: ImageSource) -> pb.Image:
    if isinstance(image, bytes):
        return pb.Image(encoded=image)
    if isinstance(image, Path):
        return pb.Image(encoded=read_file(image, MAX_MESSAGE_BYTES))
    if isinstance(image, np.ndarray):
        return pb.Image(raw=_raw(image))
    raise TypeError(f"an image is bytes, a Path or a uint8 array, not {type(image).__name__}")


def _raw(pixels: NDArray[np.uint8]) -> pb.RawImage:
    planes = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
    if pixels.dtype != np.uint8 or planes.ndim != 3 or planes.shape[2] not in (1, 3):
        raise ValueError(
            f"pixels must be uint8 (height, width, 3), (height, width, 1) or (height, width), "
            f"got {pixels.dtype} {pixels.shape}"
        )
    height, width, channels = planes.shape
    return pb.RawImage(pixels=planes.tobytes(), height=height, width=width, channels=channels)


def _result(response: pb.ClassifyResponse, result: pb.Result) -> Prediction | ImageFailure:
    if result.HasField("status"):
        code = _CODES.get(result.status.code, grpc.StatusCode.UNKNOWN)
        return ImageFailure(code, result.status.message)
    given = [*(c.probability for c in result.classes), *result.probabilities]
    if not all(map(math.isfinite, given)):  # NaN is no class, and JSON has no word for it
        return ImageFailure(grpc.StatusCode.INTERNAL, "the server's probabilities are no numbers")
    timing = result.timing
    return Prediction(
        classes=tuple(ClassScore(c.index, c.label, c.probability) for c in result.classes),
        probabilities=tuple(result.probabilities),
        timing=Timing(
            admission_ms=timing.admission_ms,
            decode_ms=timing.decode_ms,
            queue_ms=timing.queue_ms,
            infer_ms=timing.infer_ms,
            total_ms=timing.total_ms,
            batch_images=timing.batch_images,
        ),
        model=response.model,
        version=response.version,
        digest=response.digest,
    )
