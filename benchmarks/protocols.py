"""`python -m benchmarks.protocols`: the ways of calling one server, by turns."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import Field, PositiveInt

from benchmarks.command import configured, start
from benchmarks.records import circumstances
from benchmarks.server import LoadResult, Server, serving
from benchmarks.turns import Comparison, Loaded, Turns
from bundle.store import Bundle

LIBRARIES = ("grpcio", "httptools", "orjson", "starlette", "uvicorn", "uvloop")


class ProtocolsRecord(Turns):
    """A run of this benchmark."""

    model: str
    digest: str


@dataclass
class Way:
    """A way of calling a server, by what the load tester is told."""

    server: Server
    flags: tuple[str, ...]

    def load(self, images: str, seconds: float, *load: str) -> LoadResult:
        """Run the load tester with these flags; every request must be answered."""
        return self.server.load(images, seconds, *load, *self.flags)


def http(server: Server, path: str) -> Way:
    """Return the way that posts images as they are to a path."""
    address = urlsplit(server.metrics).netloc
    return Way(server, ("--http-path", path, "--http-address", address))


class Protocols(Comparison):
    """Compare `/v1/classify` and the Open Inference Protocol, in both forms, with `Classify`."""

    model_config = configured("benchmarks.protocols")

    concurrency: list[PositiveInt] = Field([32], description="requests in flight, comma-separated")

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        bundle = Bundle.open(self.model)
        started = circumstances("benchmarks.protocols", LIBRARIES)
        name = bundle.manifest.name
        with serving(self.model) as server:
            ways: dict[str, Loaded] = {
                "gRPC Classify": server,
                "gRPC ModelInfer": Way(server, ("--open-inference",)),
                "/v1/classify?top_k=1": http(server, "/v1/classify?top_k=1"),
                "v2 infer, raw binary": http(server, f"/v2/models/{name}/infer"),
            }
            turns = self.compare(ways)
        record = ProtocolsRecord(
            **started.model_dump(),
            model=f"{name}/{bundle.manifest.version}",
            digest=bundle.digest,
            images=self.images,
            duration_s=self.duration_s,
            turns=turns,
        )
        self.write(record, f"protocols-{name}")


if __name__ == "__main__":
    start(Protocols)
