"""Messages of the wire contract <-> the engine's images and answers."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from protos import classifier_pb2 as pb
from serving.api.status import to_status
from serving.backends.backend import Probabilities
from serving.engine.job import Answer, Prediction, Timing
from serving.engine.model import Model
from serving.engine.sources import Encoded, Raw, Source

# A response with more classes is built in a thread of its own: each takes a few microseconds.
MANY_CLASSES = 2000


class RequestImages:
    """The images of a request, copied out of it only when they are iterated over."""

    def __init__(self, request: pb.ClassifyRequest) -> None:
        self._images = request.images

    def __len__(self) -> int:
        """Number of images."""
        return len(self._images)

    def __iter__(self) -> Iterator[Source]:
        """Read them, in order."""
        return map(_to_source, self._images)


def is_large(request: pb.ClassifyRequest, model: Model) -> bool:
    """Whether building the response takes so long that it should have a thread of its own."""
    return classes_of(request, model) > MANY_CLASSES


def classes_of(request: pb.ClassifyRequest, model: Model) -> int:
    """Return the number of classes in the response, probabilities that are asked for included."""
    labels = len(model.bundle.manifest.labels)
    classes = min(request.top_k or labels, labels) + labels * request.full_probabilities
    return len(request.images) * classes


def to_response(
    request: pb.ClassifyRequest, model: Model, answers: list[Answer]
) -> pb.ClassifyResponse:
    """Return the answers to a request, in its order."""
    return pb.ClassifyResponse(
        results=[_to_result(request, model, answer) for answer in answers],
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
        task=manifest.task,
    )


def _to_source(image: pb.Image) -> Source:
    if image.WhichOneof("source") == "raw":
        raw = image.raw
        return Raw(raw.pixels, raw.height, raw.width, raw.channels)
    return Encoded(image.encoded)


def _to_result(request: pb.ClassifyRequest, model: Model, answer: Answer) -> pb.Result:
    if not isinstance(answer, Prediction):
        return pb.Result(status=to_status(answer))
    result = pb.Result(
        classes=top_classes(answer.probabilities, request.top_k, model.bundle.manifest.labels),
        timing=_to_timing(answer.timing),
    )
    if request.full_probabilities:
        result.probabilities.extend(answer.probabilities.tolist())
    return result


def top_classes(probabilities: Probabilities, top_k: int, labels: list[str]) -> list[pb.Class]:
    """Return the `top_k` most probable classes, 0 for all; ties keep label order."""
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
        admission_ms=timing.admission_s * 1000,
        decode_ms=timing.decode_s * 1000,
        queue_ms=timing.queue_s * 1000,
        infer_ms=timing.infer_s * 1000,
        total_ms=timing.total_s * 1000,
        batch_images=timing.batch_images,
    )
