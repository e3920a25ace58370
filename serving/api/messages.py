"""Messages of the wire contract <-> what the engine takes and gives."""

import numpy as np
from numpy.typing import NDArray

from images.transform import Pixels, Transform
from protos import classifier_pb2 as pb
from serving.api.status import to_status
from serving.backends.backend import Probabilities
from serving.engine.job import Answer, Prediction, Timing
from serving.engine.model import Model
from serving.engine.sources import Encoded, Raw, Size, Source
from serving.errors import InvalidRequestError


def check_count(request: pb.ClassifyRequest, max_images: int) -> None:
    """Raise `InvalidRequestError` where there are no images or too many."""
    if not request.images:
        raise InvalidRequestError("the request holds no image; send at least one in `images`")
    if len(request.images) > max_images:
        raise InvalidRequestError(
            f"the request holds {len(request.images)} images; "
            f"this server takes at most {max_images} per request"
        )


class Carried:
    """An image in a request: copied out of it when it is first looked at, that is once admitted."""

    def __init__(self, image: pb.Image) -> None:
        self._image = image

    def size(self, max_image_pixels: int) -> Size:
        """Copy the image, return what it claims."""
        self._source = _to_source(self._image)
        return self._source.size(max_image_pixels)

    def pixels(self, transform: Transform, max_image_pixels: int) -> Pixels:
        """Decode and transform."""
        return self._source.pixels(transform, max_image_pixels)


def to_sources(request: pb.ClassifyRequest) -> list[Source]:
    """Return the request's images."""
    return [Carried(image) for image in request.images]


def to_response(
    request: pb.ClassifyRequest, model: Model, answers: list[Answer]
) -> pb.ClassifyResponse:
    """Return the answers to a request, in its order."""
    return pb.ClassifyResponse(
        results=[_to_result(request, model, index, a) for index, a in enumerate(answers)],
        model=model.name,
        version=model.version,
        digest=model.bundle.digest,
        id=request.id,
    )


def to_model(model: Model, max_images_per_request: int, *, ready: bool) -> pb.Model:
    """Describe a model."""
    manifest = model.bundle.manifest
    return pb.Model(
        name=model.name,
        version=model.version,
        digest=model.bundle.digest,
        architecture=manifest.architecture,
        labels=manifest.labels,
        height=manifest.transform.crop.height,
        width=manifest.transform.crop.width,
        transform_json=manifest.transform.model_dump_json(),
        runtime=model.placement.runtime,
        device=model.placement.device,
        precision=model.placement.precision,
        buckets=model.buckets,
        top1=manifest.accuracy.top1 if manifest.accuracy else 0.0,
        max_images_per_request=max_images_per_request,
        ready=ready,
    )


def _to_source(image: pb.Image) -> Source:
    if image.WhichOneof("source") == "raw":
        raw = image.raw
        return Raw(raw.pixels, raw.height, raw.width, raw.channels)
    return Encoded(image.encoded)


def _to_result(request: pb.ClassifyRequest, model: Model, index: int, answer: Answer) -> pb.Result:
    if not isinstance(answer, Prediction):
        return pb.Result(status=to_status(answer, f"image {index}: "))
    result = pb.Result(
        classes=top_classes(answer.probabilities, request.top_k, model.bundle.manifest.labels),
        timing=_to_timing(answer.timing),
    )
    if request.full_probabilities:
        result.probabilities.extend(answer.probabilities.tolist())
    return result


def top_classes(probabilities: Probabilities, top_k: int, labels: list[str]) -> list[pb.Class]:
    """Return the first `top_k` classes, 0 for all; equal probabilities keep label order."""
    first = _candidates(probabilities, top_k)
    order = first[(-probabilities[first]).argsort(kind="stable")][: top_k or None]
    return [
        pb.Class(index=index, label=labels[index], probability=probability)
        for index, probability in zip(order.tolist(), probabilities[order].tolist(), strict=True)
    ]


def _candidates(probabilities: Probabilities, top_k: int) -> NDArray[np.intp]:
    """Return, in label order, the classes that are no less probable than the `top_k`-th."""
    if top_k == 1:
        return np.array([probabilities.argmax()])
    if not 0 < top_k < len(probabilities):
        return np.arange(len(probabilities))
    parted = probabilities.copy()
    parted.partition(len(parted) - top_k)
    less = probabilities < parted[len(parted) - top_k]
    return np.flatnonzero(~less)  # not >=: NaN must not vanish


def _to_timing(timing: Timing) -> pb.Timing:
    return pb.Timing(
        admission_ms=timing.admission * 1000,
        decode_ms=timing.decode * 1000,
        queue_ms=timing.queue * 1000,
        infer_ms=timing.infer * 1000,
        total_ms=timing.total * 1000,
        batch_images=timing.batch_images,
    )
