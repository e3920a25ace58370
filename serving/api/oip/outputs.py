"""The outputs of a request: which it may ask for, and how they are made of the engine's answers."""

from collections.abc import Sequence
from reprlib import repr as brief

from serving.api.messages import order
from serving.api.oip.names import Named
from serving.api.oip.tensors import InferRequest, InferResponse, Tensor
from serving.backends.backend import Probabilities
from serving.engine.job import Answer
from serving.engine.served import Served
from serving.errors import InvalidRequestError, ServingError


def check_outputs(request: InferRequest, named: Named[Served]) -> None:
    """Raise `InvalidRequestError` if a requested output does not exist, or is requested twice."""
    for output in request.outputs:
        if output.name != named.output_name:
            raise InvalidRequestError(
                f"model {named.name!r} has no output {brief(output.name)}; "
                f"its only one is {named.output_name!r}"
            )
    if len(request.outputs) > 1:
        raise InvalidRequestError(
            f"output {named.output_name!r} is requested {len(request.outputs)} times; "
            f"request it once"
        )


def classes_of(request: InferRequest, named: Named[Served], images: int) -> int:
    """Return how many classes the response names, of all images together; 0 if it names none."""
    return images * min(request.outputs[0].classes, named.classes) if request.outputs else 0


def answer(request: InferRequest, named: Named[Served], answers: Sequence[Answer]) -> InferResponse:
    """Return the response to a request whose outputs have been checked.

    Raises:
        ServingError: an image has it; it says which if there are several.
    """
    rows = []
    for index, found in enumerate(answers):
        if isinstance(found, ServingError):
            # A new one: `found` holds no traceback, which would hold the answers.
            raise found.of_image(index, len(answers))
        rows.append(found.probabilities)
    asked = request.outputs[0].classes if request.outputs else 0
    output = _classified(named, rows, asked) if asked else _probabilities(named, rows)
    return InferResponse(named.name, named.model.version, request.id, [output])


def _probabilities(named: Named[Served], rows: Sequence[Probabilities]) -> Tensor:
    shape = len(rows), named.classes
    return Tensor(named.output_name, "FP32", shape, b"".join(row.tobytes() for row in rows))


def _classified(named: Named[Served], rows: Sequence[Probabilities], most: int) -> Tensor:
    labels = named.model.bundle.manifest.labels
    elements = [
        f"{row.item(index):f}:{index}:{labels[index]}".encode()
        for row in rows
        for index in order(row, most)
    ]
    shape = len(rows), len(elements) // len(rows)
    return Tensor(named.output_name, "BYTES", shape, elements)
