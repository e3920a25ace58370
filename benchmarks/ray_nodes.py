"""`.venv-ray/bin/python -m benchmarks.ray_nodes`: two nodes of a Ray cluster against one.

Each node has one core of this machine, and a replica on it. With one node all that belongs to it
has this core: the proxy, the controller and the callers, too. With two, all of them have both.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt

from benchmarks.command import RESULTS, Benchmark, configured, start
from benchmarks.cpu_time import cpu_s
from benchmarks.ray_cluster import cluster, family, pin
from benchmarks.records import Record, circumstances, markdown
from bundle.store import Bundle
from cli.tables import show_rows

HEADER = (
    "served by", "cores", "img/s", "per core, of one node", "img per CPU s", "of one node",
)  # fmt: skip
LIBRARIES = ("ray", "grpcio", "numpy", "onnxruntime", "opencv-python-headless", "pillow")
PLAIN, ONE, TWO = "a plain server", "one node", "two nodes"
CORES = {PLAIN: 1, ONE: 1, TWO: 2}
WARM_UP = 0.25  # of each turn
Ask = Callable[[], int]


class Turn(BaseModel):
    """What was answered in one turn.

    `images_per_cpu_s` counts the CPU time of all processes, the callers' too. No neighbour on the
    machine disturbs it.
    """

    images_per_second: float
    images_per_cpu_s: float


class NodesRecord(Record):
    """A run of this benchmark."""

    model: str
    images_per_request: int
    in_flight_per_core: int
    turns: dict[str, list[Turn]] = Field(description="a turn per round")

    def cells(self) -> list[list[str]]:
        """Return a row for each: medians, and those of its ratios to one node's turns."""
        rows = []
        for name, turns in self.turns.items():
            pairs = [*zip(turns, self.turns[ONE], strict=True)]
            rates = [one.images_per_second for one in turns]
            shares = [a.images_per_second / CORES[name] / b.images_per_second for a, b in pairs]
            works = [one.images_per_cpu_s for one in turns]
            costs = [a.images_per_cpu_s / b.images_per_cpu_s for a, b in pairs]
            cells = f"{median(rates):.1f}", _ratios(shares), f"{median(works):.1f}", _ratios(costs)
            rows.append([name, str(CORES[name]), *cells])
        return rows


def _ratios(ratios: Sequence[float]) -> str:
    return f"{median(ratios):.3f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)})"


class RayNodes(Benchmark):
    """Compare two nodes of a Ray cluster, on a core each, with one; and that with a plain server.

    It needs the extra `ray`, and two cores.
    """

    model_config = configured("benchmarks.ray_nodes")

    model: Path = Field(
        Path("build/benchmarks/resnext14_8x4d_224/1"), description="bundle directory"
    )
    images: Path = Field(Path("build/benchmarks/photos"), description="folder of image files")
    images_per_request: PositiveInt = Field(32, description="images in a request")
    in_flight: PositiveInt = Field(6, description="requests in flight per core")
    rounds: PositiveInt = Field(5, description="how often all take turns")
    duration_s: PositiveFloat = Field(6.0, description="length of each turn, in seconds")
    output: Path = Field(RESULTS, description="folder for the record")

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        Bundle.open(self.model)  # what is wrong with it is told here, and not by each server
        first, second = sorted(os.sched_getaffinity(0))[:2]
        record = circumstances("benchmarks.ray_nodes", LIBRARIES)
        with ExitStack() as stack:
            plain = stack.enter_context(plain_server(self.model, first))
            proxy, everywhere = stack.enter_context(cluster(self.model, first, second))
            request = self._request()
            servers = {
                PLAIN: partial(asking, plain, request),
                ONE: partial(asking, proxy, request, application="one"),
                TWO: partial(asking, proxy, request, application="two"),
            }
            turns: dict[str, list[Turn]] = {name: [] for name in servers}
            for _ in range(self.rounds):
                for name, server in servers.items():
                    pin({first} if CORES[name] == 1 else {first, second}, everywhere())
                    turns[name].append(self._turn(server, CORES[name] * self.in_flight))
        done = NodesRecord(
            **dict(record),
            model=str(self.model),
            images_per_request=self.images_per_request,
            in_flight_per_core=self.in_flight,
            turns=turns,
        )
        show_rows(HEADER, done.cells(), title=str(self.model), text_columns=1)
        done.write(self.output, "ray-nodes", markdown(HEADER, done.cells()))

    def _request(self) -> Any:
        from protos import classifier_pb2 as pb

        files = [path.read_bytes() for path in sorted(self.images.iterdir())]
        chosen = (files * self.images_per_request)[: self.images_per_request]
        return pb.ClassifyRequest(images=[pb.Image(encoded=file) for file in chosen])

    def _turn(self, server: Callable[[], Any], callers: int) -> Turn:
        """Return what is answered: per second after the warm-up, and per CPU second in all."""
        begins_s = time.monotonic() + WARM_UP * self.duration_s
        ends_s = begins_s + self.duration_s
        counted, answered = [0.0] * callers, [0] * callers
        ours = family(os.getpid())
        before_s = cpu_s(ours)

        def call(number: int) -> None:
            with server() as ask:
                while (now := time.monotonic()) < ends_s:
                    images = ask()
                    # Of a request that the beginning or the end cuts, the part that lies between.
                    after = time.monotonic()
                    part = max(0.0, min(after, ends_s) - max(now, begins_s)) / (after - now)
                    counted[number] += images * part
                    answered[number] += images

        threads = [threading.Thread(target=call, args=[number]) for number in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return Turn(
            images_per_second=sum(counted) / self.duration_s,
            images_per_cpu_s=sum(answered) / (cpu_s(ours) - before_s),
        )


@contextmanager
def asking(address: str, request: Any, application: str = "") -> Iterator[Ask]:
    """Yield what sends the request over a connection of its own, and returns how many images."""
    import grpc

    from clients.messages import MAX_MESSAGE_BYTES
    from protos.classifier_pb2_grpc import ClassifierStub

    options = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    metadata = (("application", application),) if application else None

    def ask() -> int:
        response = stub.Classify(request, metadata=metadata, timeout=120)
        assert not any(result.status.code for result in response.results)
        return len(response.results)

    with grpc.insecure_channel(address, options) as channel:
        stub = ClassifierStub(channel)
        yield ask


@contextmanager
def plain_server(model: Path, core: int) -> Iterator[str]:
    """Yield the address of a server on one core."""
    flags = ("--grpc-port", "0", "--http-port", "0", "--tuned", "off", "--model", str(model))
    command = ["taskset", "--cpu-list", str(core), sys.executable, "-m", "serving", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        assert process.stdout
        line = next(line for line in process.stdout if line.startswith("gRPC"))
        yield line.split()[1]
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    start(RayNodes)
