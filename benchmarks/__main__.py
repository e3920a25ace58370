"""`python -m benchmarks`: a server against the bare loop on the same machine."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import median

from pydantic import Field, PositiveFloat, PositiveInt
from rich.console import Console

from benchmarks.command import RESULTS, Benchmark, configured, start
from benchmarks.comparison import HEADER, Pair, Round, ServerRecord, summarize
from benchmarks.floor import BareLoop, Floor, bare_loop
from benchmarks.records import circumstances, markdown
from benchmarks.server import LoadResult, Server, serving
from bundle.store import Bundle
from cli.tables import show_rows

# Turns of each batch size before the rounds: a machine's speed may change from one to the next.
TRIALS = 3


class FloorComparison(Benchmark):
    """Compare a server with the bare loop: same machine, model, images, instances and threads."""

    model_config = configured("benchmarks")

    model: Path = Field(Path("models/fashion_resnext/1"), description="bundle directory")
    images: str = Field("examples/images", description="file, folder or glob; sent in turn")
    concurrency: list[PositiveInt] = Field(
        [1, 8, 32, 128], description="closed loops: requests in flight, comma-separated"
    )
    capacity_shares: list[PositiveFloat] = Field(
        [0.5, 0.8],
        description="open loops: rates as shares of the best closed loop's, comma-separated",
    )
    rounds: PositiveInt = Field(5, description="how often floor and server take turns")
    duration_s: PositiveFloat = Field(2.0, description="length of each turn, in seconds")
    output: Path = Field(RESULTS, description="folder for <model>.json and <model>.md")

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        record = self._measure()
        table = [row.cells() for row in record.rows]
        show_rows(HEADER, table, title=f"{record.model}, {record.images}")
        record.write(self.output, record.model.replace("/", "-"), markdown(HEADER, table))

    def _measure(self) -> ServerRecord:
        bundle = Bundle.open(self.model)
        started = circumstances("benchmarks")
        status = Console(stderr=True).status("Choosing the floor's batch size")
        loop = bare_loop(self.model, self.images)
        with status, serving(self.model) as server, loop as bare:
            buckets = sorted({b for f in bundle.manifest.files for b in f.buckets})
            trial = [bare.measure(bucket, self.duration_s) for bucket in TRIALS * buckets]
            best = fastest(trial)
            rounds = []
            for number in range(self.rounds):
                status.update(f"Round {number + 1} of {self.rounds}")
                rounds.append(self._round(server, bare, best))
        return ServerRecord(
            **started.model_dump(),
            model=f"{bundle.manifest.name}/{bundle.manifest.version}",
            digest=bundle.digest,
            images=self.images,
            duration_s=self.duration_s,
            buckets=trial,
            rows=[summarize(load, rounds) for load in rounds[0].pairs],
            rounds=rounds,
        )

    def _round(self, server: Server, bare: BareLoop, bucket: int) -> Round:
        lone = bare.measure(1, self.duration_s, instances=1)
        pairs = {}
        for concurrency in self.concurrency:
            floor = bare.measure(bucket, self.duration_s)
            load = self._load(server, "--concurrency", concurrency)
            pairs[f"{concurrency} in flight"] = Pair(floor=floor, server=load)
        best = max(pairs.values(), key=lambda pair: pair.server.images_per_second)
        for share in self.capacity_shares:
            load = self._load(server, "--rate", share * best.server.images_per_second)
            pairs[f"{share:.0%} of capacity"] = Pair(floor=best.floor, server=load)
        return Round(lone=lone, pairs=pairs)

    def _load(self, server: Server, flag: str, value: float) -> LoadResult:
        return server.load(self.images, self.duration_s, flag, str(value))


def fastest(trial: Iterable[Floor]) -> int:
    """Return the batch size whose turns are the fastest by their median."""
    speeds = defaultdict[int, list[float]](list)
    for floor in trial:
        speeds[floor.bucket].append(floor.images_per_second)
    return max(speeds, key=lambda bucket: median(speeds[bucket]))


if __name__ == "__main__":
    start(FloorComparison)
