"""The attacks of the benchmark of hostile input, by name; each makes its own files."""

import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks import hostile_calls as calls
from benchmarks import hostile_files as files
from benchmarks.hostile_calls import MIB, Attack
from benchmarks.hostile_http import HTTP
from benchmarks.load.loops import Sample, Target, closed_loop, open_loop, poisson
from benchmarks.load.wire import INFER, Wire
from benchmarks.server import Server
from clients.methods import CLASSIFY
from protos import classifier_pb2 as pb
from protos import open_inference_pb2 as open_pb

# What a weak line carries, and the most files per second.
BYTES_PER_S, FILES_PER_S = 100_000, 50.0
TIMEOUT_S = 30.0
SHORTEST_S = 0.1
SIDE = 7071  # a square of 50 megapixels

FILES: dict[str, Callable[[], bytes]] = {
    "progressive JPEG: 200 scans": lambda: files.progressive_scans(SIDE, SIDE, 200, valid=False),
    "progressive JPEG: 880 valid scans": lambda: files.progressive_scans(SIDE, SIDE, 880),
    "progressive JPEG: 1900 scans of a strip": lambda: files.progressive_scans(
        1, 65_500, 1900, valid=False
    ),
    "JPEG: Exif in 60k pieces": lambda: files.jpeg_exif_joins(5, 60_000),
    "JPEG: 200k segments": lambda: files.jpeg_segments(200_000),
    "JPEG: 900k fill bytes": lambda: files.jpeg_fill_bytes(900_000),
    "PNG: 80k chunks": lambda: files.png_chunks(80_000),
    "PNG: 80k chunks of pixels": lambda: files.png_split(files.png(8, 8), 80_000),
    "PNG: 1 x 50 million": lambda: files.png(1, 50_000_000),
    "PNG: a text of 64 MiB": lambda: files.png_text("zTXt", 64 * MIB),
    "PNG: 65k Exif warnings": lambda: files.png_exif(files.exif_warnings()),
    "BMP: RLE line ends": lambda: files.bmp_line_ends(50_000_000, 1),
    "BMP: RLE runs": lambda: files.bmp_runs(SIDE, SIDE),
    "WebP: 2000 frames": lambda: files.webp_animation(4000, 4000, 2000),
}
# How many are in flight: with 64 of the largest, most are refused and asked again at once.
FLOODS: dict[str, tuple[int, Callable[[], bytes]]] = {
    "24 PNGs of 50 megapixels in flight": (24, lambda: files.png(SIDE, SIDE)),
    "64 PNGs of 50 megapixels in flight": (64, lambda: files.png(SIDE, SIDE)),
    "64 PNGs of 20 megapixels in flight": (64, lambda: files.png(5000, 4000, colour=2)),
    "64 WebPs of 12 megapixels in flight": (64, lambda: files.webp(files.webp_frame(4000, 3000))),
}
CALLS: dict[str, Attack] = {
    "gzip bombs": calls.gzip_bombs,
    "stalled uploads": calls.stalled_uploads,
    "unread streams": calls.unread_streams,
    "OIP: unread streams": calls.unread_inferences,
    "OIP: 8 tensors of packed numbers in flight": lambda server, end: _closed(
        8, _packed_numbers(), server, end, INFER
    ),
    "300 header fields": calls.many_fields,
    "pings": calls.pings,
    "idle connections": calls.idle_connections,
    "HTTP garbage": calls.http_garbage,
    "500 scrapes a second": calls.scrapes,
}


def attacks() -> dict[str, Attack]:
    """Return each attack: first none, for comparison."""
    return {
        "none": lambda _server, _end: Counter(),
        **{name: partial(_drip, make) for name, make in FILES.items()},
        **{name: partial(_flood, *flood) for name, flood in FLOODS.items()},
        "31 MB model names": lambda server, end: _closed(1, _long_name(), server, end),
        **CALLS,
        **HTTP,
    }


def _drip(make: Callable[[], bytes], server: Server, end: float) -> Counter[str]:
    """Send a file over and over, as often as a weak line can."""
    request = _request(make())
    rate = min(FILES_PER_S, BYTES_PER_S / len(request))
    # Two at once to begin with: the smallest server has two instances.
    arrivals = np.concatenate([np.zeros(2), poisson(rate, max(0.0, end - time.monotonic()))])
    with Wire(server.address) as wire:
        target = Target(wire, [request], timeout_s=TIMEOUT_S)
        return _codes(open_loop(target, arrivals=arrivals))


def _flood(in_flight: int, make: Callable[[], bytes], server: Server, end: float) -> Counter[str]:
    """Keep so many requests of a file in flight."""
    return _closed(in_flight, _request(make()), server, end)


def _closed(
    in_flight: int, request: bytes, server: Server, end: float, path: str = CLASSIFY.path
) -> Counter[str]:
    with Wire(server.address, path) as wire:
        target = Target(wire, [request], timeout_s=TIMEOUT_S)
        # However long it took to prepare, each caller sends one.
        seconds = max(SHORTEST_S, end - time.monotonic())
        return _codes(closed_loop(target, concurrency=in_flight, seconds=seconds))


def _codes(samples: list[Sample]) -> Counter[str]:
    return Counter(sample.code.name for sample in samples)


def _request(image: bytes) -> bytes:
    request = pb.ClassifyRequest(images=[pb.Image(encoded=image)], top_k=1)
    return request.SerializeToString()


def _packed_numbers() -> bytes:
    request = open_pb.ModelInferRequest()
    tensor = request.inputs.add(name="images", datatype="UINT8", shape=[1, 1, 1, 3])
    tensor.contents.MergeFromString(_packed_ones(4 * MIB))
    return request.SerializeToString()


def _packed_ones(numbers: int) -> bytes:
    """Return `uint_contents` of ones as it is on the wire: a list of them would take a second."""
    ones = pb.ClassifyRequest(id="\1" * numbers).SerializeToString()  # a length, and as many bytes
    field = open_pb.InferTensorContents.DESCRIPTOR.fields_by_name["uint_contents"]
    return bytes([field.number << 3 | 2]) + ones[1:]


def _long_name() -> bytes:
    return pb.ClassifyRequest(images=[pb.Image()], model="m" * (31 * MIB)).SerializeToString()
