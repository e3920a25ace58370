"""The methods of the Classifier, and how a channel calls them.

They are defined here, without the stub that protoc generates: it refuses every grpcio that is older
than its generator.
"""

import json
import re
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from clients.errors import REQUEST_ID
from clients.messages import MAX_MESSAGE_BYTES
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

# Classifying changes nothing on the server, so it is safe to repeat a request that the server did
# not accept. The server says how long to wait (grpc-retry-pushback-ms).
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": SERVICE}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ]
}

OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # gRPC does not repeat a request that is larger than this buffer; its default is 256 KiB.
    ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
]


def named(request_id: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that names a request; ValueError if the server would not take it."""
    if not request_id:
        return ()
    if not ACCEPTABLE.fullmatch(request_id):  # the server would go by one of its own
        raise ValueError(
            f"request_id must be at most 128 characters of visible ASCII, not {request_id[:64]!r}"
        )
    return ((REQUEST_ID, request_id),)
