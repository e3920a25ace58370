"""`python -m benchmarks.page`: what it costs a loaded server that somebody watches it."""

import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt
from rich.console import Console

from benchmarks.command import RESULTS, Benchmark, configured, start
from benchmarks.records import Record, circumstances, markdown
from benchmarks.server import WARM_UP, Server, serving
from cli.tables import show_rows

# Before each turn, so that what the one before has left is done.
SETTLE_S = 0.2
# For the load tester to start, and for viewers to come and go.
SPARE_S = 15.0
HEADER = ("", "nobody", "watched", "watched / nobody", "95 % interval")


class Window(BaseModel):
    """What the server did in one turn."""

    images_per_second: float
    cpu_ms: float = Field(description="CPU time of the server process per image")


class PageRecord(Record):
    """A run of this benchmark."""

    model: str
    images: str
    viewers: int
    concurrency: int
    turn_s: float
    nobody: list[Window]
    watched: list[Window] = Field(description="each beside the one with the same place in `nobody`")
    idle_cpu_ms: dict[Literal["nobody", "watched"], float] = Field(
        description="CPU time a second of the server process without any load"
    )

    def cells(self) -> list[list[str]]:
        """Return a row per quantity: medians, and the median of the pairs' ratios."""
        idle = [f"{self.idle_cpu_ms[side]:.2f}" for side in ("nobody", "watched")]
        return [
            ["CPU ms a second, idle", *idle, "", ""],
            self._cells("img/s", lambda window: window.images_per_second, ".1f"),
            self._cells("CPU ms per image", lambda window: window.cpu_ms, ".4f"),
        ]

    def _cells(self, title: str, of: Callable[[Window], float], form: str) -> list[str]:
        nobody, watched = ([*map(of, side)] for side in (self.nobody, self.watched))
        ratios = [b / a for a, b in zip(nobody, watched, strict=True)]
        low, high = interval(ratios)
        sides = [format(median(side), form) for side in (nobody, watched)]
        return [title, *sides, f"{median(ratios):.4f}", f"{low:.4f} to {high:.4f}"]


class PageCost(Benchmark):
    """Load a server without a pause, and watch it in every second turn."""

    model_config = configured("benchmarks.page")

    model: Path = Field(Path("models/fashion_resnext/1"), description="bundle directory")
    images: str = Field("examples/images", description="file, folder or glob")
    viewers: PositiveInt = Field(10, description="how many watch at once")
    concurrency: PositiveInt = Field(32, description="requests in flight")
    pairs: PositiveInt = Field(36, description="how often both have a turn")
    turn_s: PositiveFloat = Field(2.5, description="length of each turn, in seconds")
    idle_s: PositiveFloat = Field(
        10.0, description="how long the server is idle, once watched and once not, in seconds"
    )
    output: Path = Field(RESULTS, description="folder for the record")

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        started = circumstances("benchmarks.page")
        windows: dict[bool, list[Window]] = {False: [], True: []}
        with serving(self.model) as server:
            idle = [self._idle(server, viewers) for viewers in (0, self.viewers)]
            with self._loading(server), Console(stderr=True).status("") as status:
                for number in range(self.pairs):
                    status.update(f"Pair {number + 1} of {self.pairs}")
                    # The later turn may be the slower: each is first as often as it is second.
                    for is_watched in (False, True) if number % 2 else (True, False):
                        with watching(server, self.viewers if is_watched else 0):
                            windows[is_watched].append(window(server, self.turn_s))
        record = PageRecord(
            **started.model_dump(),
            model=str(self.model),
            images=self.images,
            viewers=self.viewers,
            concurrency=self.concurrency,
            turn_s=self.turn_s,
            nobody=windows[False],
            watched=windows[True],
            idle_cpu_ms={"nobody": idle[0], "watched": idle[1]},
        )
        title = (
            f"{self.model}, {self.concurrency} in flight, {self.viewers} viewers in every "
            f"second of {2 * self.pairs} turns of {self.turn_s:g} s"
        )
        show_rows(HEADER, record.cells(), title=title)
        record.write(self.output, "page", f"{title}\n\n{markdown(HEADER, record.cells())}")

    def _idle(self, server: Server, viewers: int) -> float:
        """Return the CPU time that an idle server takes a second, in milliseconds."""
        with watching(server, viewers):
            cpu_s = server.cpu_s()
            time.sleep(self.idle_s)
            return 1e3 * (server.cpu_s() - cpu_s) / self.idle_s

    @contextmanager
    def _loading(self, server: Server) -> Iterator[None]:
        """Load the server while the context is open; raise what the load tester says is wrong."""
        needed_s = 2 * self.pairs * (self.turn_s + SETTLE_S) + SPARE_S
        flags = "--concurrency", str(self.concurrency)
        with ThreadPoolExecutor(1) as thread:
            seconds = needed_s / (1 + WARM_UP)
            loading = thread.submit(server.load, self.images, seconds, *flags)
            while not loading.done() and not answered(server):
                time.sleep(SETTLE_S)  # it is still starting
            yield
            if loading.done():
                raise RuntimeError("the load has ended before the last turn")
            loading.result()


def window(server: Server, seconds: float) -> Window:
    """Return what a server does in the next seconds."""
    began, images, cpu_s = time.monotonic(), answered(server), server.cpu_s()
    time.sleep(seconds)
    took_s, images = time.monotonic() - began, answered(server) - images
    return Window(images_per_second=images / took_s, cpu_ms=1e3 * (server.cpu_s() - cpu_s) / images)


def answered(server: Server) -> float:
    """Return how many images a server has answered."""
    return server.count("serving_images_total", outcome="ok")


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """Return between what the median lies with 95 % probability, whatever the distribution is."""
    ordered, spread = sorted(ratios), 0.98 * math.sqrt(len(ratios))
    low = max(0, math.floor(len(ratios) / 2 - spread))
    return ordered[low], ordered[-1 - low]


@contextmanager
def watching(server: Server, viewers: int) -> Iterator[None]:
    """Have viewers watch a server; all of them have got what was kept when the context opens."""
    with ExitStack() as stack:
        for come in [stack.enter_context(_viewer(server)) for _ in range(viewers)]:
            come.wait()
        time.sleep(SETTLE_S)
        yield


@contextmanager
def _viewer(server: Server) -> Iterator[threading.Event]:
    """Read the stream in a thread, as a browser does; yield what is set when something has come."""
    come, where = threading.Event(), urlsplit(server.metrics)
    assert where.hostname
    assert where.port
    with socket.create_connection((where.hostname, where.port)) as connection:
        connection.sendall(b"GET /v1/watch HTTP/1.1\r\nhost: localhost\r\n\r\n")

        def read() -> None:
            while data := connection.recv(2**16):
                if b"data: " in data:
                    come.set()

        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield come
        finally:
            connection.shutdown(socket.SHUT_RDWR)
            thread.join()


if __name__ == "__main__":
    start(PageCost)
