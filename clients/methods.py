"""The methods of the Classifier.

They are defined here, without the stub that protoc generates: it refuses every grpcio that is older
than its generator.
"""

import re
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from clients.errors import REQUEST_ID
from protos import classifier_pb2 as pb

DEFAULT_ADDRESS = "localhost:50051"
DEFAULT_TIMEOUT_S = 10.0
SERVICE = "resnext.serving.v1.Classifier"

ACCEPTABLE = re.compile("[!-~]{1,128}")

Request = TypeVar("Request")
Response = TypeVar("Response")


class Method(NamedTuple, Generic[Request, Response]):
    """What a channel's `unary_unary` takes."""

    path: str
    serialize: Callable[[Request], bytes]
    parse: Callable[[bytes], Response]


CLASSIFY = Method(
    f"/{SERVICE}/Classify",
    pb.ClassifyRequest.SerializeToString,
    pb.ClassifyResponse.FromString,
)
GET_MODEL = Method(
    f"/{SERVICE}/GetModel", pb.GetModelRequest.SerializeToString, pb.Model.FromString
)
LIST_MODELS = Method(
    f"/{SERVICE}/ListModels",
    pb.ListModelsRequest.SerializeToString,
    pb.ListModelsResponse.FromString,
)
SET_LABEL = Method(
    f"/{SERVICE}/SetLabel", pb.SetLabelRequest.SerializeToString, pb.SetLabelResponse.FromString
)


def named(request_id: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that names a request; ValueError if the server would not take it."""
    if not request_id:
        return ()
    if not ACCEPTABLE.fullmatch(request_id):  # the server would go by one of its own
        raise ValueError(
            f"request_id must be at most 128 characters of visible ASCII, not {request_id[:64]!r}"
        )
    return ((REQUEST_ID, request_id),)
