"""`python -m benchmarks.page`: a server that nobody watches, and the same one with viewers."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from pydantic import Field, PositiveInt

from benchmarks.command import configured, start
from benchmarks.records import circumstances
from benchmarks.server import LoadResult, Server, serving
from benchmarks.turns import Comparison, Turns


class PageRecord(Turns):
    """A run of this benchmark."""

    model: str
    viewers: int


class PageCost(Comparison):
    """Compare a server that nobody watches with the same one while viewers watch it."""

    model_config = configured("benchmarks.page")

    viewers: PositiveInt = Field(10, description="how many watch at once")

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        started = circumstances("benchmarks.page")
        with serving(self.model) as server:
            turns = self.compare({"nobody": server, "watched": Watched(server, self.viewers)})
        record = PageRecord(
            **started.model_dump(),
            images=self.images,
            duration_s=self.duration_s,
            turns=turns,
            model=str(self.model),
            viewers=self.viewers,
        )
        self.write(record, "page", f"{self.viewers} viewers; {self.model}\n\n")


class Watched:
    """A server that is watched while it is loaded.

    Args:
        server: the server.
        viewers: how many watch it.
    """

    def __init__(self, server: Server, viewers: int) -> None:
        self._server, self._viewers = server, viewers
        where = urlsplit(server.metrics)
        assert where.hostname
        assert where.port
        self._address = where.hostname, where.port

    def load(self, images: str, seconds: float, *load: str) -> LoadResult:
        """Run the load tester with these flags; each viewer must have got samples."""
        with ExitStack() as stack:
            viewers = [stack.enter_context(_viewer(self._address)) for _ in range(self._viewers)]
            result = self._server.load(images, seconds, *load)
            if not all(b"data: " in come for come in viewers):
                raise RuntimeError("a viewer got nothing")
        return result


@contextmanager
def _viewer(address: tuple[str, int]) -> Iterator[bytearray]:
    """Read the stream in a thread, as a browser does; yield what has come."""
    come = bytearray()
    with socket.create_connection(address) as connection:
        connection.sendall(b"GET /v1/watch HTTP/1.1\r\nhost: localhost\r\n\r\n")

        def read() -> None:
            while data := connection.recv(2**16):
                come.extend(data)

        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield come
        finally:
            connection.shutdown(socket.SHUT_RDWR)
            thread.join()


if __name__ == "__main__":
    start(PageCost)
