"""Callers that break the rules of gRPC and HTTP, for the benchmark of hostile input.

Each attack runs until `end` (monotonic seconds) and returns what became of its calls.
"""

import gzip
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from google.protobuf.message import Message

from benchmarks.server import Server
from clients.methods import CLASSIFY
from protos import classifier_pb2 as pb
from protos import open_inference_pb2 as open_pb

MIB = 2**20
STREAM, STATUS = f"{CLASSIFY.path}Stream", "grpc-status"
INFER_STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
# Messages of this size are accepted by default (`--max-message-bytes`).
LARGEST = 32 * MIB
# The longest that a caller waits for anything.
NAP_S = 0.02
Attack = Callable[[Server, float], Counter[str]]


class Connection:
    """One HTTP/2 connection, below gRPC's own client, which would keep the rules.

    It never says that it has taken what the server sent, so that it gets 64 KB of answers at most.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host.strip("[]"), int(port)), timeout=10)
        self._http = h2.connection.H2Connection(
            h2.config.H2Configuration(header_encoding="utf-8", validate_inbound_headers=False)
        )
        self._http.initiate_connection()
        self.ended: Counter[str] = Counter()
        self._flush()

    @property
    def has_parted(self) -> bool:
        """Whether the server wants no more of it."""
        return bool(self.ended["GOAWAY"] or self.ended["parted"])

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def call(self, path: str, *fields: tuple[str, str]) -> int:
        """Begin a call with these header fields; return its stream."""
        stream = self._http.get_next_available_stream_id()
        head = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test")]
        head += [("content-type", "application/grpc"), ("te", "trailers")]
        self._http.send_headers(stream, [*head, *fields])
        self._flush()
        return stream

    def send(self, stream: int, data: bytes, until: float, *, end: bool) -> int:
        """Send data as far as flow control lets it before `until`; return how much was sent."""
        sent = 0
        while sent < len(data) and time.monotonic() < until:
            window = self._http.local_flow_control_window(stream)
            part = data[sent : sent + min(window, self._http.max_outbound_frame_size)]
            if part:
                sent += len(part)
                self._http.send_data(stream, part, end_stream=end and sent == len(data))
                self._flush()
            if not part:
                self.read(NAP_S)
        return sent

    def ping(self) -> None:
        """Send a ping."""
        self._http.ping(b"hostile!")
        self._flush()

    def read(self, seconds: float) -> None:
        """Take what comes within some seconds; count how calls end in `ended`."""
        self._socket.settimeout(max(seconds, 1e-4))
        try:
            data = self._socket.recv(65_536)
        except TimeoutError:
            return
        if not data:
            raise ConnectionResetError("the server has closed the connection")
        for event in self._http.receive_data(data):
            if isinstance(event, h2.events.TrailersReceived | h2.events.ResponseReceived):
                fields = {str(name): str(value) for name, value in event.headers or ()}
                if STATUS in fields:
                    self.ended[f"gRPC {fields[STATUS]}"] += 1
            elif isinstance(event, h2.events.StreamReset):
                self.ended[f"reset {event.error_code!s}"] += 1
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.ended["GOAWAY"] += 1
        self._flush()

    def _flush(self) -> None:
        self._socket.settimeout(10)
        self._socket.sendall(self._http.data_to_send())


def frame(message: bytes, *, compressed: bool = False) -> bytes:
    """Return a message as gRPC frames it."""
    return struct.pack(">BI", compressed, len(message)) + message


def gzip_bombs(server: Server, end: float) -> Counter[str]:
    """Send 32 MiB of empty images, which gzip makes 32 KB, 1.4 times a second."""
    empty_images = b"\x0a\x00" * (LARGEST // 2 - 64)
    bomb = frame(gzip.compress(empty_images, 9, mtime=0), compressed=True)

    def send(connection: Connection) -> None:
        stream = connection.call(CLASSIFY.path, ("grpc-encoding", "gzip"))
        connection.send(stream, bomb, end, end=True)

    return _paced(server, end, 1.4, send)


def many_fields(server: Server, end: float) -> Counter[str]:
    """Send 20 calls a second with 300 header fields each."""
    fields = [(f"x-field-{number}", "value") for number in range(300)]

    def send(connection: Connection) -> None:
        stream = connection.call(CLASSIFY.path, *fields)
        connection.send(stream, frame(b""), end, end=True)

    return _paced(server, end, 20, send)


def pings(server: Server, end: float) -> Counter[str]:
    """Send 1,000 pings a second on one connection after another."""
    return _paced(server, end, 1000, Connection.ping)


def stalled_uploads(server: Server, end: float, uploads: int = 20) -> Counter[str]:
    """Send all but the last byte of 20 messages of 31 MiB, then wait."""
    almost = frame(bytes(31 * MIB))[:-1]
    with ExitStack() as stack:
        connections = [_open(stack, server) for _ in range(uploads)]
        for connection in connections:
            with _parted(connection):
                connection.send(connection.call(CLASSIFY.path), almost, end, end=False)
        return _watch(connections, end)


def unread_streams(server: Server, end: float) -> Counter[str]:
    """Send requests of 1 MiB in 20 streams, and never read an answer."""
    image = pb.Image(raw=pb.RawImage(pixels=bytes(MIB), height=1024, width=1024, channels=1))
    return _unread(server, end, STREAM, pb.ClassifyRequest(images=[image]))


def unread_inferences(server: Server, end: float) -> Counter[str]:
    """Do the same in the Open Inference Protocol."""
    request = open_pb.ModelInferRequest(raw_input_contents=[bytes(3 * MIB)])
    request.inputs.add(name="images", datatype="UINT8", shape=[1, 1024, 1024, 3])
    return _unread(server, end, INFER_STREAM, request)


def _unread(
    server: Server, end: float, path: str, message: Message, streams: int = 20
) -> Counter[str]:
    request = frame(message.SerializeToString())
    with ExitStack() as stack:
        connections = [_open(stack, server) for _ in range(streams)]
        share_s = max(0.0, end - time.monotonic()) / streams
        for connection in connections:
            with _parted(connection):
                until = time.monotonic() + share_s / 2
                stream = connection.call(path)
                while connection.send(stream, request, until, end=False) == len(request):
                    pass
        return _watch(connections, end)


def idle_connections(server: Server, end: float, connections: int = 500) -> Counter[str]:
    """Open 500 connections to each port, and say nothing."""
    addresses = [parts(server.address), parts(server.metrics)]
    outcome: Counter[str] = Counter()
    with ExitStack() as stack:
        for address in addresses * connections:
            try:
                opened = socket.create_connection(address, timeout=1)
            except OSError as error:
                outcome[type(error).__name__] += 1
            else:
                stack.enter_context(opened)
                outcome["opened"] += 1
        _sleep_until(end)
    return outcome


def http_garbage(server: Server, end: float) -> Counter[str]:
    """Send the HTTP port 100 lines a second that are not HTTP."""
    outcome: Counter[str] = Counter()
    for _ in beats(end, 100):
        try:
            with socket.create_connection(parts(server.metrics), timeout=1) as garbage:
                garbage.sendall(b"\x1b[31m" + b"no HTTP " * 1000 + b"\r\n\r\n")
                outcome[garbage.recv(65_536)[:12].decode(errors="replace") or "closed"] += 1
        except OSError as error:
            outcome[type(error).__name__] += 1
    return outcome


def scrapes(server: Server, end: float) -> Counter[str]:
    """Scrape the metrics 500 times a second."""
    outcome: Counter[str] = Counter()
    request = b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
    for _ in beats(end, 500):
        with socket.create_connection(parts(server.metrics), timeout=5) as connection:
            connection.sendall(request)
            page = connection.makefile("rb").read()
            outcome[page.split(maxsplit=2)[1].decode()] += 1
    return outcome


def _open(stack: ExitStack, server: Server) -> Connection:
    connection = Connection(server.address)
    stack.callback(connection.close)
    return connection


@contextmanager
def _parted(connection: Connection) -> Iterator[None]:
    """Count it if the server ends a connection: that is its good right."""
    try:
        yield
    except (OSError, h2.exceptions.ProtocolError):
        connection.ended["parted"] += 1


def _paced(
    server: Server, end: float, rate: float, send: Callable[[Connection], None]
) -> Counter[str]:
    """Call `send` at a rate, on a new connection each time that the server ends the last one."""
    outcome: Counter[str] = Counter()
    connection: Connection | None = None
    with ExitStack() as stack:
        for _ in beats(end, rate):
            if connection is None or connection.has_parted:
                outcome += connection.ended if connection else Counter()
                connection = _open(stack, server)
            with _parted(connection):
                send(connection)
                connection.read(1e-4)
        last = [connection] if connection else []
        return outcome + _watch(last, time.monotonic() + NAP_S)


def _watch(connections: Sequence[Connection], end: float) -> Counter[str]:
    """Read what comes until the end, answering pings; return how calls ended."""
    while time.monotonic() < end:
        for connection in connections:
            if not connection.has_parted:
                with _parted(connection):
                    connection.read(1e-3)
        time.sleep(NAP_S)
    return sum((connection.ended for connection in connections), Counter[str]())


def beats(end: float, rate: float) -> Iterator[int]:
    """Yield at a rate until the end; what is late is made up for."""
    start = time.monotonic()
    count = 0
    while (now := time.monotonic()) < end:
        if (ahead_s := start + count / rate - now) > 0:
            time.sleep(ahead_s)
        yield count
        count += 1


def _sleep_until(end: float) -> None:
    time.sleep(max(0.0, end - time.monotonic()))


def parts(address: str) -> tuple[str, int]:
    """Return the host and the port of an address or URL."""
    url = urlsplit(address if "//" in address else f"//{address}")
    return url.hostname or "", url.port or 0
