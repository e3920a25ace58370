"""Callers that break the rules of HTTP or keep them badly, for the benchmark of hostile input.

Each attack runs until `end` (monotonic seconds) and returns what became of its requests: the codes
of their answers, or the errors of their sockets.
"""

import gzip
import json
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path
from urllib.request import urlopen

from benchmarks import hostile_files as files
from benchmarks.hostile_calls import LARGEST, MIB, Attack, beats, parts
from benchmarks.server import Server

CLASSIFY = "/v1/classify"
FORM = "Content-Type: multipart/form-data; boundary=" + "-" * 69 + "x"
READ_BYTES, PATIENCE_S = 2**16, 30.0
TO, HOST = b"POST /v1/classify HTTP/1.1\r\n", b"Host: x\r\n"
GARBAGE = (
    TO + HOST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    TO + HOST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
    TO + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    TO + HOST + b"X: a\r\n folded\r\n\r\n",
    TO + b"Host: [\r\nX-Request-Timeout-Ms: nan\r\n\r\n",
    b"GET /nothing?\xff HTTP/1.1\r\n\r\n",
    b"GET /v2/models/%0d%0aX:%20y HTTP/1.1\r\nHost: x\r\n\r\n",
    b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n\x00\x00",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)


def request(path: str, body: bytes = b"", *fields: str) -> bytes:
    """Return a POST."""
    lines = [f"POST {path} HTTP/1.1", "Host: test", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join([*lines, "\r\n"]).encode() + body


class GoodCaller:
    """Sends images at a rate, each on a connection of its own, as curl does."""

    def __init__(self, server: Server, images: str, deadline_s: float) -> None:
        self._address, self._deadline_s = parts(server.metrics), deadline_s
        found = sorted(path for path in Path(images).iterdir() if path.suffix == ".png")
        self._requests = [request(CLASSIFY, image.read_bytes()) for image in found]

    def run(self, end: float, rate: float) -> tuple[int, int]:
        """Send until the end; return how many were answered in time, and how many there were."""
        with ThreadPoolExecutor(64) as senders:
            asked = cycle(self._requests)
            sent = [senders.submit(self._is_in_time, next(asked)) for _ in beats(end, rate)]
            return sum(one.result() for one in sent), len(sent)

    def _is_in_time(self, message: bytes) -> bool:
        due = time.monotonic()
        code = ask(self._address, message, self._deadline_s)
        return code == "200" and time.monotonic() - due <= self._deadline_s


def ask(address: tuple[str, int], message: bytes, patience_s: float = PATIENCE_S) -> str:
    """Send a request; return the code of its answer, or what became of it."""
    try:
        with socket.create_connection(address, timeout=patience_s) as connection:
            connection.sendall(message)
            return connection.recv(READ_BYTES)[9:12].decode(errors="replace") or "closed"
    except OSError as error:
        return type(error).__name__


def flood(
    in_flight: int, make: Callable[[Server], bytes], server: Server, end: float
) -> Counter[str]:
    """Keep so many requests in flight, each on a new connection."""
    message, address = make(server), parts(server.metrics)

    def keep_on() -> Counter[str]:
        outcome: Counter[str] = Counter()
        while time.monotonic() < end:
            outcome[ask(address, message)] += 1
        return outcome

    with ThreadPoolExecutor(in_flight) as askers:
        asked = [askers.submit(keep_on) for _ in range(in_flight)]
        return sum((one.result() for one in asked), Counter[str]())


def paced(rate: float, make: Callable[[Server], bytes], server: Server, end: float) -> Counter[str]:
    """Send so many requests a second, each on a new connection."""
    message, address = make(server), parts(server.metrics)
    with ThreadPoolExecutor(64) as askers:
        asked = [askers.submit(ask, address, message) for _ in beats(end, rate)]
        return Counter(one.result() for one in asked)


def garbage(server: Server, end: float) -> Counter[str]:
    """Send 200 requests a second of which each breaks a rule of HTTP."""
    address, messages = parts(server.metrics), cycle(GARBAGE)
    return Counter(ask(address, next(messages), 1.0) for _ in beats(end, 200))


def leaving(server: Server, end: float) -> Counter[str]:
    """Send 200 requests a second, and leave at once: in a head, in a body, or before the answer."""
    message = request(CLASSIFY, files.png(1000, 1000))
    whole = cycle((message, message[:20], message[:-1]))
    outcome: Counter[str] = Counter()
    for _ in beats(end, 200):
        with socket.create_connection(parts(server.metrics), timeout=5) as connection:
            connection.sendall(next(whole))
        outcome["left"] += 1
    return outcome


def half_heads(server: Server, end: float) -> Counter[str]:
    """Open 500 connections a second, and send half of a head on each."""
    outcome: Counter[str] = Counter()
    with ExitStack() as stack:
        for _ in beats(end, 500):
            try:
                opened = socket.create_connection(parts(server.metrics), timeout=1)
                stack.enter_context(opened).sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
            except OSError as error:
                outcome[type(error).__name__] += 1
            else:
                outcome["opened"] += 1
    return outcome


def slow_bodies(server: Server, end: float, connections: int = 900) -> Counter[str]:
    """Send 900 bodies at one byte per second each."""
    head = request(CLASSIFY, b"", "X-Slow: 1").replace(b"Length: 0", b"Length: 1000")
    return _hold(server, end, [head] * connections, b"x")


def bodies_behind(server: Server, end: float, connections: int = 48) -> Counter[str]:
    """On each of 48 connections, send a slow image, and behind it a body of 31 MiB that waits."""
    first = request(CLASSIFY, files.png(7071, 7071), "X-Request-Timeout-Ms: 3600000")
    return _hold(server, end, [first + request(CLASSIFY, bytes(31 * MIB))] * connections, b"")


def unread(server: Server, end: float, connections: int = 64) -> Counter[str]:
    """On 64 connections, ask for /openapi.json over and over, and never read."""
    asked = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 8
    return _hold(server, end, [asked] * connections, asked)


def _hold(server: Server, end: float, begin: Sequence[bytes], more: bytes) -> Counter[str]:
    """Send the beginnings, then once a second `more`, never reading, as far as the server lets."""
    outcome: Counter[str] = Counter()
    with ExitStack() as stack:
        sockets: dict[socket.socket, memoryview] = {}
        for message in begin:
            opened = socket.create_connection(parts(server.metrics), timeout=5)
            stack.enter_context(opened).settimeout(0)
            sockets[opened] = memoryview(message)
        for beat in beats(end, 20):
            for opened, left in [*sockets.items()]:
                try:
                    sockets[opened] = left[opened.send(left) :] if left else b""
                except BlockingIOError:
                    pass
                except OSError as error:
                    outcome[type(error).__name__] += 1
                    del sockets[opened]
                    continue
                if not sockets[opened] and beat % 20 == 0:
                    sockets[opened] = memoryview(more)
        outcome["held to the end"] = len(sockets)
    return outcome


def _gzip_bomb(_: Server) -> bytes:
    return request(CLASSIFY, gzip.compress(bytes(LARGEST), 9, mtime=0), "Content-Encoding: gzip")


def _gzip_noise(_: Server) -> bytes:
    noise = random.Random(0).randbytes(31 * MIB)  # noqa: S311 - any bytes that do not shrink
    return request(CLASSIFY, gzip.compress(noise, 1, mtime=0), "Content-Encoding: gzip")


def _form(_: Server) -> bytes:
    return request(CLASSIFY, (b"\r\n" + b"-" * 70) * (31 * MIB // 72), FORM)


def _json(server: Server) -> bytes:
    with urlopen("http://{}:{}/v2/models".format(*parts(server.metrics))) as page:  # noqa: S310 - ours
        name = json.load(page)["models"][0]
    tensor = b'{"inputs":[{"name":"images","datatype":"UINT8","shape":[1,1,1,3],"data":[%s]}]}'
    return request(f"/v2/models/{name}/infer", tensor % b",".join([b"1"] * (MIB - 64)))


HTTP: dict[str, Attack] = {
    "HTTP: requests that break rules": garbage,
    "HTTP: clients that leave": leaving,
    "HTTP: 500 half heads a second": half_heads,
    "HTTP: 900 slow bodies": slow_bodies,
    "HTTP: bodies behind slow images": bodies_behind,
    "HTTP: unread answers": unread,
    "HTTP: 16 gzip bombs in flight": partial(flood, 16, _gzip_bomb),
    "HTTP: 64 gzips of 31 MiB in flight": partial(flood, 64, _gzip_noise),
    "HTTP: gzips of 31 MiB at 1 Gbit/s": partial(paced, 4, _gzip_noise),
    "HTTP: forms of half boundaries at 1 Gbit/s": partial(paced, 4, _form),
    "HTTP: 16 forms of half boundaries in flight": partial(flood, 16, _form),
    "HTTP: 16 JSONs of 2 MiB in flight": partial(flood, 16, _json),
}
