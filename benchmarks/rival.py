"""`python -m benchmarks.rival`: our server against a plain one, by turns."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from pydantic import Field, FilePath, PositiveFloat, PositiveInt

from benchmarks.command import RESULTS, Benchmark, configured, start
from benchmarks.floor_network import write_network
from benchmarks.precisions import Variant, runs_here
from benchmarks.records import circumstances, markdown
from benchmarks.server import Server, listening, serving
from benchmarks.turns import HEADER, Turns, compared
from bundle.store import Bundle
from cli.cores import usable_cores
from cli.tables import show_rows

PLAIN = "benchmarks.plain_server"
OURS = Variant("onnxruntime", "fp32"), Variant("openvino", "bf16")


class RivalRecord(Turns):
    """A run of this benchmark."""

    model: str
    digest: str
    trials: dict[int, float] = Field(
        description="img/s of the plain server by threads per image; the best stays"
    )


class Rival(Benchmark):
    """Compare our server, in fp32 and bf16, with a plain one: grpc.aio, Pillow, ONNX Runtime."""

    model_config = configured("benchmarks.rival")

    model: Path = Field(
        Path("build/benchmarks/resnext14_8x4d_224/1"), description="bundle directory"
    )
    original: FilePath | None = Field(
        None,
        description="for the plain server, the ONNX file that the bundle was made from: float32 "
        "images in, channels first, probabilities out; unset: the network in the bundle's file",
    )
    images: str = Field("build/benchmarks/photos", description="file, folder or glob")
    concurrency: list[PositiveInt] = Field(
        [1, 32], description="requests in flight, comma-separated"
    )
    rounds: PositiveInt = Field(4, description="how often all take turns")
    duration_s: PositiveFloat = Field(5.0, description="length of each turn, in seconds")
    output: Path = Field(RESULTS, description="folder for rival.json and rival.md")

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        record = self._measure()
        table = record.cells()
        show_rows(HEADER, table, title=f"{record.model}, {record.images}", text_columns=2)
        record.write(self.output, "rival", markdown(HEADER, table, text_columns=2))

    def _measure(self) -> RivalRecord:
        bundle, started = Bundle.open(self.model), circumstances("benchmarks.rival")
        with ExitStack() as stack:
            network = self.original or stack.enter_context(_network(bundle))
            trials = {n: self._trial(network, n) for n in dict.fromkeys([1, usable_cores().usable])}
            threads = max(trials, key=lambda n: trials[n])
            plain = stack.enter_context(self._plain(network, threads))
            servers = {"plain": plain}
            for variant in (variant for variant in OURS if runs_here(bundle, variant)):
                flags = "--runtime", variant.runtime, "--precision", variant.precision
                servers[f"ours, {variant}"] = stack.enter_context(serving(self.model, *flags))
            turns = compared(
                servers,
                images=self.images,
                concurrency=self.concurrency,
                rounds=self.rounds,
                seconds=self.duration_s,
            )
        return RivalRecord(
            **started.model_dump(),
            model=f"{bundle.manifest.name}/{bundle.manifest.version}",
            digest=bundle.digest,
            images=self.images,
            duration_s=self.duration_s,
            trials=trials,
            turns=turns,
        )

    def _trial(self, network: Path, threads: int) -> float:
        """Return the plain server's img/s with so many threads per image, under the most load."""
        flags = "--concurrency", str(max(self.concurrency))
        with self._plain(network, threads) as server:
            turns = [server.load(self.images, self.duration_s / 2, *flags) for _ in range(2)]
        return median(turn.images_per_second for turn in turns)

    @contextmanager
    def _plain(self, network: Path, threads: int) -> Iterator[Server]:
        command = [sys.executable, "-m", PLAIN, "--model", str(self.model), "--threads"]
        with listening([*command, str(threads), "--network", str(network)]) as server:
            yield server


@contextmanager
def _network(bundle: Bundle) -> Iterator[Path]:
    """Yield the network of the bundle as a file of its own."""
    with TemporaryDirectory(prefix="network-") as folder:
        path = Path(folder) / "network.onnx"
        file = bundle.path / bundle.file("onnx", "fp32").path
        write_network(file, path, bundle.manifest.transform.crop)
        yield path


if __name__ == "__main__":
    start(Rival)
