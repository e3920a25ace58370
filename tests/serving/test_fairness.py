"""A real server beside a caller that sends what is slow to decode."""

import struct
import threading
import zlib
from pathlib import Path

from clients.client import ClassifierClient
from tests.support.process import serve

SIDE, SENDERS, IMAGES = 7071, 8, 20


def blank_png(side: int) -> bytes:
    """Return a PNG of one bit per pixel, all black: few bytes, many pixels."""
    row = bytes(1 + (side + 7) // 8)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(row * side, 9)),
        (b"IEND", b""),
    ]
    framed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def test_slow_images_of_one_caller_cost_another_no_answer(tiny: Path) -> None:
    image, over, slow_answers = blank_png(SIDE), threading.Event(), []

    def flood(address: str) -> None:
        with ClassifierClient(address) as client:
            while not over.is_set():
                slow_answers.append(client.classify([image], timeout_s=30))

    with serve(tiny, "--instances", "2", "--decode-threads", "0") as server:
        senders = [threading.Thread(target=flood, args=(server.grpc,)) for _ in range(SENDERS)]
        for sender in senders:
            sender.start()
        try:
            small = (tiny / "golden/ant_0.png").read_bytes()
            with ClassifierClient(server.grpc) as client:
                answers = [client.classify([small], timeout_s=1) for _ in range(IMAGES)]
        finally:
            over.set()
            for sender in senders:
                sender.join()
    assert len(answers) == IMAGES
    assert len(slow_answers) >= SENDERS
