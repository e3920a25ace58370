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
class Route:
    """A path of the server's HTTP port, to which images are posted as they are."""

    server: Server
    path: str

    def load(self, images: str, seconds: float, *load: str) -> LoadResult:
        """Run the load tester with these flags; every request must be answered."""
        address = urlsplit(self.server.metrics).netloc
        return self.server.load(
            images, seconds, *load, "--path", self.path, "--http-address", address
        )


class Protocols(Comparison):
    """Compare `/v1/classify` and the raw binary request of v2 with gRPC's `Classify`."""

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
                "/v1/classify?top_k=1": Route(server, "/v1/classify?top_k=1"),
                # "v2, raw binary": Route(server, f"/v2/models/{name}/infer"),
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
