"""Messages of the wire contract <-> the engine's images and answers."""

from typing import Any

import numpy as np

from protos import classifier_pb2 as pb
from serving.api.status import to_status
from serving.backends.backend import Probabilities
from serving.engine.job import Answer, Prediction
from serving.engine.model import Model
from serving.engine.repository import Shelf
from serving.engine.served import Served

# A response with more classes is built in a thread of its own: each takes a few microseconds.
MANY_CLASSES = 2000


def is_large(options: pb.ClassifyRequest, images: int, model: Served) -> bool:
    """Whether building the response takes so long that it should have a thread of its own."""
    return classes_of(options, images, model) > MANY_CLASSES


def classes_of(options: pb.ClassifyRequest, images: int, model: Served) -> int:
    """Return the number of classes in the response, probabilities that are asked for included."""
    labels = len(model.bundle.manifest.labels)
    classes = min(options.top_k or labels, labels) + labels * options.full_probabilities
    return images * classes


def to_response(
    options: pb.ClassifyRequest, model: Served, answers: list[Answer]
) -> pb.ClassifyResponse:
    """Return the answers to a request, in its order."""
    # Protobuf copies messages that go into a message, through their bytes; of dicts it makes them.
    return pb.ClassifyResponse(**to_fields(options, model, answers), id=options.id)


def to_fields(options: pb.ClassifyRequest, model: Served, answers: list[Answer]) -> dict[str, Any]:
    """Return the fields of a `pb.ClassifyResponse` to a request, in its order, but for the id."""
    return {
        "results": [_to_result(options, model, answer) for answer in answers],
        "model": model.name,
        "version": model.version,
        "digest": model.bundle.digest,
    }


def to_labels(shelf: Shelf) -> list[pb.VersionLabel]:
    """Return the labels of a model."""
    share_of = shelf.rollout.share_of
    return [
        pb.VersionLabel(label=label, version=model.version, share=share_of(label))
        for label, model in shelf.labelled.items()
    ]


def to_model(
    model: Model, shelf: Shelf | None, max_images_per_request: int, *, ready: bool
) -> pb.Model:
    """Describe a model of a shelf, or one that has just been taken from it."""
    manifest = model.bundle.manifest
    labels = to_labels(shelf) if shelf else []
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
        version_labels=[one for one in labels if one.version == model.version],
    )


def _to_result(options: pb.ClassifyRequest, model: Served, answer: Answer) -> dict[str, Any]:
    """Return the fields of a `pb.Result`."""
    if not isinstance(answer, Prediction):
        return {"status": to_status(answer)}
    probabilities, timing = answer
    result = {
        "classes": top_classes(probabilities, options.top_k, model.bundle.manifest.labels),
        "timing": {
            "admission_ms": timing.admission_s * 1000,
            "decode_ms": timing.decode_s * 1000,
            "queue_ms": timing.queue_s * 1000,
            "infer_ms": timing.infer_s * 1000,
            "total_ms": timing.total_s * 1000,
            "batch_images": timing.batch_images,
        },
    }
    if options.full_probabilities:
        result["probabilities"] = probabilities.tolist()
    return result


def top_classes(
    probabilities: Probabilities, top_k: int, labels: list[str]
) -> list[dict[str, Any]]:
    """Return the fields of the `top_k` most probable classes, 0 for all; ties keep label order."""
    return [
        {"index": index, "label": labels[index], "probability": probabilities.item(index)}
        for index in order(probabilities, top_k)
    ]


def order(probabilities: Probabilities, top_k: int) -> list[int]:
    """Return the indices of the `top_k` most probable classes, by falling probability."""
    if top_k == 1:
        return [int(probabilities.argmax())]
    if not 0 < top_k < len(probabilities):
        return _falling(probabilities)
    parted = probabilities.copy()
    parted.partition(len(parted) - top_k)
    less = probabilities < parted[len(parted) - top_k]
    first = np.flatnonzero(~less)  # in label order; not >=: NaN must not vanish
    return [int(first[place]) for place in _falling(probabilities[first])[:top_k]]


def _falling(probabilities: Probabilities) -> list[int]:
    order: list[int] = (-probabilities).argsort(kind="stable").tolist()
    return order
