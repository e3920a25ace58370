"""`python -m benchmarks`: a server against the bare loop on the same machine."""

from pathlib import Path

from pydantic import Field, FilePath, PositiveFloat, PositiveInt
from rich.console import Console

from benchmarks.command import RESULTS, Benchmark, configured, start
from benchmarks.comparison import HEADER, Pair, Round, ServerRecord, summarize
from benchmarks.floor import BareLoop, Best, bare_loop
from benchmarks.records import circumstances, markdown
from benchmarks.server import LoadResult, Server, serving
from bundle.manifest import Precision
from bundle.store import Bundle
from cli.tables import show_rows
from serving.backends.settings import Runtime


class FloorComparison(Benchmark):
    """Compare a server with the floor: the fastest known way to the same answers, without one."""

    model_config = configured("benchmarks")

    model: Path = Field(Path("models/fashion_resnext/1"), description="bundle directory")
    images: str = Field("examples/images", description="file, folder or glob; sent in turn")
    runtime: Runtime | None = Field(
        None, description="the server's; unset: as it chooses; the floor's is the fastest"
    )
    precision: Precision = Field("fp32", description="of the server and of the floor")
    original: FilePath | None = Field(
        None,
        description="for the floor, the ONNX file that the bundle was made from: float32 images "
        "in, channels first, probabilities out; unset: the network in the bundle's file",
    )
    batches: list[PositiveInt] | None = Field(
        None,
        description="batch sizes that the floor tries, comma-separated; unset: the bundle's",
    )
    concurrency: list[PositiveInt] = Field(
        [1, 8, 32, 128], description="closed loops: requests in flight, comma-separated"
    )
    capacity_shares: list[PositiveFloat] = Field(
        [0.5, 0.8],
        description="open loops: rates as shares of the best closed loop's, comma-separated",
    )
    rounds: PositiveInt = Field(5, description="how often floor and server take turns")
    duration_s: PositiveFloat = Field(2.0, description="length of each turn, in seconds")
    name: str | None = Field(
        None, description="of the record; unset: model, runtime and precision where they are set"
    )
    output: Path = Field(RESULTS, description="folder for <name>.json and <name>.md")

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        record = self._measure()
        table = [row.cells() for row in record.rows]
        show_rows(HEADER, table, title=f"{record.model}, {record.images}")
        asked = [value for value in (self.runtime, self.precision) if value and value != "fp32"]
        name = self.name or "-".join([record.model.replace("/", "-"), *asked])
        record.write(self.output, name, f"{record.floor}\n\n{markdown(HEADER, table)}")

    def _measure(self) -> ServerRecord:
        bundle = Bundle.open(self.model)
        started = circumstances("benchmarks")
        flags = ["--precision", self.precision]
        flags += ["--runtime", self.runtime] if self.runtime else []
        status = Console(stderr=True).status("Choosing the floor's way")
        loop = bare_loop(self.model, self.images, self.precision, self.original)
        with status, serving(self.model, *flags) as server, loop as bare:
            buckets = self.batches or bundle.file("onnx", self.precision).buckets
            best = bare.best(self.precision, buckets, self.duration_s)
            rounds = []
            for number in range(self.rounds):
                status.update(f"Round {number + 1} of {self.rounds}")
                rounds.append(self._round(server, bare, best))
        return ServerRecord(
            **started.model_dump(),
            model=f"{bundle.manifest.name}/{bundle.manifest.version}",
            digest=bundle.digest,
            images=self.images,
            precision=self.precision,
            duration_s=self.duration_s,
            decoders=bare.decoders,
            best=best,
            rows=[summarize(load, rounds) for load in rounds[0].pairs],
            rounds=rounds,
        )

    def _round(self, server: Server, bare: BareLoop, best: Best) -> Round:
        lone = bare.measure(best.lone, self.duration_s)
        pairs = {}
        for concurrency in self.concurrency:
            floor = bare.measure(best.busy, self.duration_s)
            load = self._load(server, "--concurrency", concurrency)
            pairs[f"{concurrency} in flight"] = Pair(floor=floor, server=load)
        fastest = max(pairs.values(), key=lambda pair: pair.server.images_per_second)
        for share in self.capacity_shares:
            load = self._load(server, "--rate", share * fastest.server.images_per_second)
            pairs[f"{share:.0%} of capacity"] = Pair(floor=fastest.floor, server=load)
        return Round(lone=lone, pairs=pairs)

    def _load(self, server: Server, flag: str, value: float) -> LoadResult:
        return server.load(self.images, self.duration_s, flag, str(value))


if __name__ == "__main__":
    start(FloorComparison)
