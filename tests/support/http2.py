"""A client of HTTP/2 that does what gRPC's own never does: stalls, floods, and does not read."""

import socket
import struct
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import NamedTuple, Self

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM = ACK = 1
END_HEADERS = 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
INITIAL_WINDOW = 65_535
LARGEST_FRAME = 16_384
HEADERS_OF_A_CALL = (
    (":method", "POST"), (":scheme", "http"), (":authority", "test"), ("te", "trailers"),
    ("content-type", "application/grpc"),
)  # fmt: skip


class Frame(NamedTuple):
    """One frame; `stream` is 0 if it is about the connection."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def message(size: int, body: bytes = b"", *, compressed: bool = False) -> bytes:
    """Return a gRPC message that claims a size, and as much of its body as is given."""
    return struct.pack(">BI", compressed, size) + body


class Http2:
    """A connection; `windows` holds how many bytes the server takes, 0 for all streams together."""

    def __init__(self, port: int, *, receive_window: int = INITIAL_WINDOW) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._streams = 0
        self._initial = INITIAL_WINDOW
        self.windows = {0: INITIAL_WINDOW}
        self._socket.sendall(PREFACE)
        self.send(SETTINGS, payload=struct.pack(">HI", 4, receive_window))

    def __enter__(self) -> Self:
        """Nothing more to do."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self._socket.close()

    def send(
        self, kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", times: int = 1
    ) -> None:
        """Send a frame, so many times at once."""
        header = struct.pack(">I", len(payload))[1:] + bytes((kind, flags))
        self._socket.sendall((header + struct.pack(">I", stream) + payload) * times)

    def call(self, path: str, headers: Sequence[tuple[str, str]] = ()) -> int:
        """Begin a call; return its stream."""
        stream = 2 * self._streams + 1
        self._streams += 1
        self.windows[stream] = self._initial
        fields = (*HEADERS_OF_A_CALL, (":path", path), *headers)
        fields = tuple(sorted(fields, key=lambda field: not field[0].startswith(":")))
        payload = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)
        self.send(HEADERS, END_HEADERS, stream, payload)
        return stream

    def write(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send data as fast as the server takes it."""
        while data:
            room = min(self.windows[0], self.windows[stream], LARGEST_FRAME)
            if room <= 0:
                self._note(self._read())
                continue
            part, data = data[:room], data[room:]
            self.windows[0] -= len(part)
            self.windows[stream] -= len(part)
            self.send(DATA, END_STREAM if end and not data else 0, stream, part)

    def frames(self) -> Iterator[Frame]:
        """Yield what the server sends until it closes the connection."""
        while frame := self._read():
            self._note(frame)
            yield frame

    def until(self, kind: int, stream: int | None = None) -> Frame:
        """Return the next frame of a kind, of a stream."""
        for frame in self.frames():
            if frame.kind == kind and stream in (None, frame.stream):
                return frame
        raise AssertionError("the server has closed the connection")

    def _read(self) -> Frame | None:
        header = self._exactly(9)
        if not header:
            return None
        size = int.from_bytes(header[:3])
        return Frame(header[3], header[4], int.from_bytes(header[5:]), self._exactly(size))

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                part = self._socket.recv(size - len(data))
            except ConnectionResetError:
                part = b""
            if not part:
                return b""
            data += part
        return bytes(data)

    def _note(self, frame: Frame | None) -> None:
        assert frame, "the server has closed the connection"
        if frame.kind == WINDOW_UPDATE and frame.stream in self.windows:
            self.windows[frame.stream] += int.from_bytes(frame.payload)
        elif frame.kind == SETTINGS and not frame.flags & ACK:
            for at in range(0, len(frame.payload), 6):
                name, value = struct.unpack_from(">HI", frame.payload, at)
                if name == 4:
                    for stream in self.windows.keys() - {0}:
                        self.windows[stream] += value - self._initial
                    self._initial = value
            self.send(SETTINGS, ACK)
        elif frame.kind == PING and not frame.flags & ACK:
            self.send(PING, ACK, payload=frame.payload)


def _text(text: str) -> bytes:
    """Encode a string for HPACK, without Huffman's code."""
    data = text.encode()
    if len(data) < 127:
        return bytes((len(data),)) + data
    rest, size = len(data) - 127, b"\x7f"
    while rest > 127:
        size, rest = size + bytes((rest & 127 | 128,)), rest >> 7
    return size + bytes((rest,)) + data
