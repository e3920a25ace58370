"""Requests straight on gRPC's channel: half of the CPU time that grpcio's futures take."""

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Self

import grpc
from grpc._cython import cygrpc

from clients.channel import MAX_MESSAGE_BYTES

METHOD = b"/resnext.serving.v1.Classifier/Classify"
# A load tester that repeats requests hides what it is there to show.
OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.enable_retries", 0),
)
CODES = {code.value[0]: code for code in grpc.StatusCode}

Ended = Callable[[grpc.StatusCode, bytes | None], None]
Cancel = Callable[[], None]


class Wire:
    """A connection to a server; one thread tells how each request ended, in the order of the ends.

    What it calls may send the next request, and must not raise.
    """

    def __init__(self, address: str) -> None:
        self._channel = cygrpc.Channel(address.encode(), OPTIONS, None)
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
        """Send a request, serialised; `ended` gets its code, and its response if that is OK."""
        operations = (
            cygrpc.SendInitialMetadataOperation((), 0),
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
            0, METHOD, None, deadline, (), None, ((operations, tag),), None, None
        )
        self._due.put(1)
        return lambda: call.cancel(cygrpc.StatusCode.cancelled, "the caller leaves")

    def _read(self) -> None:
        while self._due.get():
            event = self._channel.next_call_event()
            event.tag(event)
