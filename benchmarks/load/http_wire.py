"""HTTP/1.1 on bare sockets: less CPU time than gRPC's client takes, so that servers are compared.

Connections stay open, and each has one request at a time. Requests are sent as they are: their
deadline is the server's own.
"""

import json
import re
import selectors
import socket
import threading
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Self

import grpc

from benchmarks.load.wire import Cancel, Ended
from clients.access import Metadata
from clients.files import find_images, read_image
from protos import classifier_pb2 as pb

SIZE = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)
CODES = {
    200: grpc.StatusCode.OK,
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
READ_BYTES = 2**16
# In the Open Inference Protocol: no JSON, the body is the image. Other paths read over it.
RAW = "Inference-Header-Content-Length: 0\r\n"


def read_requests(images: str, path: str, metadata: Metadata = ()) -> list[bytes]:
    """Return a request for each image of a file, folder or glob, posted as it is to `path`.

    The metadata go as headers.

    Raises:
        UsageError: there is none, or one cannot be read.
    """
    headers = RAW + "".join(f"{name}: {value!s}\r\n" for name, value in metadata)
    return [_request(image, path, headers) for image in find_images([images])]


def _request(image: Path, path: str, headers: str) -> bytes:
    data = read_image(image)
    size = f"Content-Length: {len(data)}\r\n"
    return f"POST {path} HTTP/1.1\r\nHost: server\r\n{size}{headers}\r\n".encode() + data


class HttpWire:
    """Connections to a server; one thread calls back for each request that ends.

    A callback may send the next request, and must not raise.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._address = host.strip("[]"), int(port)
        self._idle = SimpleQueue[socket.socket]()
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._ends = dict[socket.socket, tuple[Ended, bytearray]]()
        self._reader = threading.Thread(target=self._read, name="wire", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._wake.close()
        self._reader.join()
        for connection in self._ends:
            connection.close()
        self._woken.close()
        self._selector.close()

    def ask(self, request: bytes, timeout_s: float, ended: Ended) -> Cancel:  # noqa: ARG002
        """Send a request; `ended` gets its code, and its body if that is OK."""
        try:
            connection = self._idle.get_nowait()
        except Empty:
            connection = socket.create_connection(self._address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._ends[connection] = ended, bytearray()
            self._selector.register(connection, selectors.EVENT_READ)
        else:
            self._ends[connection] = ended, bytearray()
        connection.sendall(request)
        return lambda: connection.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def timing(response: bytes) -> pb.Timing | None:
        """Return where the time of a response went, None if it does not say."""
        results = json.loads(response).get("results")
        return pb.Timing(**results[0]["timing"]) if results else None

    def _read(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    return
                assert isinstance(key.fileobj, socket.socket)
                self._receive(key.fileobj)

    def _receive(self, connection: socket.socket) -> None:
        ended, answer = self._ends[connection]
        data = connection.recv(READ_BYTES)
        answer += data
        if not data:
            self._drop(connection)
            ended(grpc.StatusCode.UNAVAILABLE, None)
        elif whole := _whole(answer):
            code, body = whole
            if CLOSES.search(answer, 0, len(answer) - len(body)):
                self._drop(connection)
            else:
                self._idle.put(connection)
            ended(code, body if code is grpc.StatusCode.OK else None)

    def _drop(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._ends[connection]
        connection.close()


def _whole(answer: bytearray) -> tuple[grpc.StatusCode, bytes] | None:
    """Return the code and the body of an answer, None if it has not come whole."""
    end = answer.find(b"\r\n\r\n") + 4
    size = SIZE.search(answer, 0, end) if end >= 4 else None
    if not size or len(answer) < end + int(size[1]):
        return None
    code = CODES.get(int(answer[9:12]), grpc.StatusCode.UNKNOWN)
    return code, bytes(answer[end:])
