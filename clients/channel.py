"""How the clients talk to a server: the methods, the message limit, and retries by gRPC.

The methods stand here, not in the stub that protoc generates, for that refuses every grpcio older
than its generator.
"""

import json
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from protos import classifier_pb2 as pb

SERVICE = "resnext.serving.v1.Classifier"

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

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""Largest request and largest response; the server's limit is the same."""

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
