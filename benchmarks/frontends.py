"""`python -m benchmarks.frontends`: what front ends take off the engine, in CPU time per image.

The device needs no time (`benchmarks.fake_server`), and the images are pixels of the size that the
network sees. What is left is the server's own work: in the engine process, and in front ends.
"""

import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import psutil
from pydantic import BaseModel, Field, NonNegativeInt, PositiveFloat, PositiveInt

from benchmarks.command import RESULTS, Benchmark, configured, start
from benchmarks.cpu_time import cpu_s
from benchmarks.records import Record, circumstances, markdown
from benchmarks.server import Server, serving
from bundle.store import Bundle
from cli.tables import show_rows

if TYPE_CHECKING:
    from benchmarks.load.loops import Sample

HEADER = (
    "front ends", "images per request", "in flight", "img/s", "engine, ms per image",
    "front ends, ms per image", "caller, ms per image", "batch",
)  # fmt: skip
WARM_UP_S = 1.0
# Nothing is to be refused.
ROOM = "--max-inflight-images", "16384"
PATIENCE_S = 60.0


class Cost(BaseModel):
    """What the server took per image under one load."""

    frontends: int
    images_per_request: int
    in_flight: int = Field(description="requests, over all connections")
    images_per_second: float
    engine_ms: float = Field(description="CPU time of the engine process per image")
    frontend_ms: float = Field(description="CPU time of all front ends together per image")
    caller_ms: float = Field(description="CPU time of the process that calls, per image")
    batch_images: float = Field(description="mean size of the batches")

    def cells(self) -> list[str]:
        """Return a row of the table."""
        return [
            str(self.frontends),
            str(self.images_per_request),
            str(self.in_flight),
            f"{self.images_per_second:,.0f}",
            f"{self.engine_ms:.4f}",
            f"{self.frontend_ms:.4f}",
            f"{self.caller_ms:.4f}",
            f"{self.batch_images:.1f}",
        ]


class FrontEndRecord(Record):
    """A run of this benchmark."""

    model: str
    costs: list[Cost]


class FrontEnds(Benchmark):
    """Load a server with and without front ends, and print what an image costs each process."""

    model_config = configured("benchmarks.frontends")

    model: Path = Field(Path("models/fashion_resnext/1"), description="bundle directory")
    frontends: list[NonNegativeInt] = Field([0, 1, 2], description="how many, in turn")
    images_per_request: list[PositiveInt] = Field([1, 8], description="in turn")
    in_flight: PositiveInt = Field(64, description="requests in flight on each connection")
    connections: PositiveInt = Field(4, description="of clients, each to one front end")
    duration_s: PositiveFloat = Field(5.0, description="length of a run, in seconds")
    output: Path = Field(RESULTS, description="folder for frontends.json and frontends.md")

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        started = circumstances("benchmarks.frontends")
        costs: list[Cost] = []
        for frontends in self.frontends:
            flags = ("--frontends", str(frontends), "--instances", "1", *ROOM)
            with serving(self.model, *flags, module="benchmarks.fake_server") as server:
                costs += [self._cost(server, frontends, n) for n in self.images_per_request]
        record = FrontEndRecord(**started.model_dump(), model=str(self.model), costs=costs)
        table = [cost.cells() for cost in costs]
        show_rows(HEADER, table, title="CPU time per image")
        record.write(self.output, "frontends", markdown(HEADER, table))

    def _cost(self, server: Server, frontends: int, images: int) -> Cost:
        request = raw_request(self.model, images)
        self._load(server, request, WARM_UP_S)
        before, engine_s, frontend_s = _counts(server), server.cpu_s(), _children_s(server)
        caller_s = time.process_time()
        samples, seconds = self._load(server, request, self.duration_s)
        caller_s = time.process_time() - caller_s
        engine_s, frontend_s = server.cpu_s() - engine_s, _children_s(server) - frontend_s
        ran, batches = (now - then for now, then in zip(_counts(server), before, strict=True))
        answered = images * len(samples)
        if failed := [sample.code.name for sample in samples if sample.response is None]:
            raise RuntimeError(f"{len(failed)} requests were not answered: {Counter(failed)}")
        return Cost(
            frontends=frontends,
            images_per_request=images,
            in_flight=self.in_flight * self.connections,
            images_per_second=answered / seconds,
            engine_ms=1e3 * engine_s / answered,
            frontend_ms=1e3 * frontend_s / answered,
            caller_ms=1e3 * caller_s / answered,
            batch_images=ran / max(batches, 1),
        )

    def _load(self, server: Server, request: bytes, seconds: float) -> "tuple[list[Sample], float]":
        """Run a closed loop on each connection; return its samples, and how long it took."""
        from benchmarks.load.loops import Target, closed_loop
        from benchmarks.load.wire import Wire

        samples: list[Sample] = []

        def loop(wire: Wire) -> None:
            target = Target(wire, [request], timeout_s=PATIENCE_S)
            samples.extend(closed_loop(target, concurrency=self.in_flight, seconds=seconds))

        with ExitStack() as stack:
            wires = [stack.enter_context(Wire(server.address)) for _ in range(self.connections)]
            threads = [Thread(target=loop, args=(wire,)) for wire in wires]
            began = time.monotonic()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return samples, time.monotonic() - began


def raw_request(model: Path, images: int) -> bytes:
    """Return a request of grey pixels of the size that the network sees."""
    from protos import classifier_pb2 as pb

    crop = Bundle.open(model).manifest.transform.crop
    shape = {"height": crop.height, "width": crop.width, "channels": 3}
    raw = pb.RawImage(pixels=bytes(crop.height * crop.width * 3), **shape)
    request = pb.ClassifyRequest(images=[pb.Image(raw=raw)] * images, top_k=1)
    return request.SerializeToString()


def _counts(server: Server) -> tuple[float, float]:
    """Return how many images have run, in how many batches."""
    names = "serving_batch_images_sum", "serving_batch_images_count"
    ran, batches = (server.count(name) for name in names)
    return ran, batches


def _children_s(server: Server) -> float:
    """Return the CPU time of the server's front ends."""
    return cpu_s(child.pid for child in psutil.Process(server.pid).children())


if __name__ == "__main__":
    start(FrontEnds)
