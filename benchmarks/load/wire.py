"""Requests straight on gRPC's channel: half of the CPU time that grpcio's futures take.

This uses private names of grpcio, so it works with the versions that it was tried with, and refuses
the others.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol, Self

import grpc
from grpc._cython import cygrpc

from cli.program import UsageError
from clients import proxies
from clients.access import Shown
from clients.errors import rpc_errors
from clients.files import find_images, read_image
from clients.messages import MAX_MESSAGE_BYTES, classify_request
from clients.methods import CLASSIFY
from protos import classifier_pb2 as pb
from protos import open_inference_pb2 as open_pb

KNOWN_GRPCIO = "1.85"
INFER = "/inference.GRPCInferenceService/ModelInfer"
METADATA = "/inference.GRPCInferenceService/ModelMetadata"
# A load tester that repeats requests would hide what it is there to show.
OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.enable_retries", 0),
    # Else all callers of this process share a connection, and the streams that one may have open.
    ("grpc.use_local_subchannel_pool", 1),
)
NOTHING = Shown()
CODES = {code.value[0]: code for code in grpc.StatusCode}

Ended = Callable[[grpc.StatusCode, bytes | None], None]
Cancel = Callable[[], None]


class Sender(Protocol):
    """A way to send requests, over gRPC or HTTP."""

    def ask(self, request: bytes, timeout_s: float, ended: Ended) -> Cancel:
        """Send a request; `ended` gets its code, and its response if that is OK."""

    def timing(self, response: bytes) -> pb.Timing | None:
        """Return where the time of a response went, None if it does not say."""


def read_requests(images: str, *, model: str = "", version: str = "") -> list[bytes]:
    """Return a serialised request for each image of a file, folder or glob.

    Raises:
        UsageError: there is none, or one cannot be read or sent.
    """
    return [_request(path, model, version) for path in find_images([images])]


def read_infer_requests(
    address: str, images: str, model: str, version: str, shown: Shown = NOTHING
) -> list[bytes]:
    """Return the same as requests of the Open Inference Protocol, for `INFER`.

    Raises ClassifierError, too, if the server does not say what it takes.
    """
    options = proxies.options(address)
    with (
        rpc_errors(address),
        (
            grpc.secure_channel(address, shown.credentials, options)
            if shown.credentials
            else grpc.insecure_channel(address, options)
        ) as channel,
    ):
        # Not the generated stub: it refuses older versions of grpcio before KNOWN_GRPCIO can.
        parse = open_pb.ModelMetadataResponse.FromString
        ask: Any = channel.unary_unary(METADATA, response_deserializer=parse)
        asked = open_pb.ModelMetadataRequest(name=model, version=version)
        described = ask(asked.SerializeToString(), metadata=shown.metadata)
    head = open_pb.ModelInferRequest(model_name=model, model_version=version)
    head.inputs.add(name=described.inputs[0].name, datatype="BYTES", shape=[1, 1])
    return [_infer_request(head, read_image(path)) for path in find_images([images])]


def _infer_request(head: open_pb.ModelInferRequest, data: bytes) -> bytes:
    image = open_pb.ModelInferRequest(raw_input_contents=[len(data).to_bytes(4, "little") + data])
    return head.SerializeToString() + image.SerializeToString()


def read_timing(response: bytes) -> pb.Timing:
    """Return where the time of a ClassifyResponse went."""
    return pb.ClassifyResponse.FromString(response).results[0].timing


def _request(path: Path, model: str, version: str) -> bytes:
    data = read_image(path)
    try:
        request = classify_request(
            [data], top_k=1, model=model, version=version, full_probabilities=False
        )
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
    return request.SerializeToString()


class GrpcioVersionError(Exception):
    """The load tester does not know this grpcio."""


class Wire:
    """A connection to a server; one thread calls back for each request that ends, in their order.

    A callback may send the next request, and must not raise.

    Args:
        address: of the server.
        path: the method that is called.
        shown: to the server, so that it lets the calls in.

    Raises:
        GrpcioVersionError: this grpcio is not one that is known to work.
    """

    def __init__(self, address: str, path: str = CLASSIFY.path, shown: Shown = NOTHING) -> None:
        self._path, self._metadata = path.encode(), shown.metadata
        if not grpc.__version__.startswith(f"{KNOWN_GRPCIO}."):
            raise GrpcioVersionError(
                f"the load tester needs grpcio {KNOWN_GRPCIO}, and this is {grpc.__version__}: "
                f"pip install -e '.[load]' in an environment of its own"
            )
        options = (*OPTIONS, *proxies.options(address))
        credentials: Any = shown.credentials
        if credentials:
            credentials = credentials._credentials
        self._channel = cygrpc.Channel(address.encode(), options, credentials)
        self._due = SimpleQueue[int]()  # a 1 for each event that will come, and a 0 at the end
        self._reader = threading.Thread(target=self._read, name="wire", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._due.put(0)
        self._channel.close(cygrpc.StatusCode.cancelled, "the load tester is done")
        self._reader.join()

    def ask(self, request: bytes, timeout_s: float, ended: Ended) -> Cancel:
        """Send a serialised request; `ended` gets its code, and its response if that is OK."""
        operations = (
            cygrpc.SendInitialMetadataOperation(self._metadata, 0),
            cygrpc.SendMessageOperation(request, 0),
            cygrpc.SendCloseFromClientOperation(0),
            cygrpc.ReceiveInitialMetadataOperation(0),
            cygrpc.ReceiveMessageOperation(0),
            cygrpc.ReceiveStatusOnClientOperation(0),
        )

        def tag(event: Any) -> None:
            *_, message, status = event.batch_operations
            code = CODES[status.code()]
            ended(code, message.message() if code is grpc.StatusCode.OK else None)

        deadline = time.time() + timeout_s
        call = self._channel.integrated_call(
            0, self._path, None, deadline, (), None, ((operations, tag),), None, None
        )
        self._due.put(1)
        return lambda: call.cancel(cygrpc.StatusCode.cancelled, "the caller cancels")

    def timing(self, response: bytes) -> pb.Timing | None:
        """Return where the time of a response went, None if it does not say."""
        return None if self._path == INFER.encode() else read_timing(response)

    def _read(self) -> None:
        while self._due.get():
            event = self._channel.next_call_event()
            event.tag(event)
