"""How the clients talk to a server: message limit and retries, both left to gRPC."""

import json

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""Largest request and largest response; the server's limit is the same."""

# Classifying changes nothing on the server, so asking again is safe wherever the server did not
# take the request. How long to wait is the server's to say (grpc-retry-pushback-ms).
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "resnext.serving.v1.Classifier"}],
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
