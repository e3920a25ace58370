"""`python -m benchmarks.rival`: our server against a plain one, by turns."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from pydantic import Field, FilePath

from benchmarks.command import configured, start
from benchmarks.floor_network import write_network
from benchmarks.precisions import Variant, runs_here
from benchmarks.records import circumstances
from benchmarks.server import Server, listening, serving
from benchmarks.turns import Comparison, Turns
from bundle.store import Bundle
from cli.cores import usable_cores

PLAIN = "benchmarks.plain_server"
OURS = Variant("onnxruntime", "fp32"), Variant("openvino", "bf16")


class RivalRecord(Turns):
    """A run of this benchmark."""

    model: str
    digest: str
    trials: dict[int, float] = Field(
        description="img/s of the plain server by threads per image; the best stays"
    )


class Rival(Comparison):
    """Compare our server, in fp32 and bf16, with a plain one: grpc.aio, Pillow, ONNX Runtime."""

    model_config = configured("benchmarks.rival")

    original: FilePath | None = Field(
        None,
        description="for the plain server, the ONNX file that the bundle was made from: float32 "
        "images in, channels first, probabilities out; unset: the network in the bundle's file",
    )

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        bundle, started = Bundle.open(self.model), circumstances("benchmarks.rival")
        with ExitStack() as stack:
            network = self.original or stack.enter_context(_network(bundle))
            trials = {n: self._trial(network, n) for n in dict.fromkeys([1, usable_cores().usable])}
            threads = max(trials, key=lambda n: trials[n])
            servers = {"plain": stack.enter_context(self._plain(network, threads))}
            for variant in (variant for variant in OURS if runs_here(bundle, variant)):
                flags = "--runtime", variant.runtime, "--precision", variant.precision
                servers[f"ours, {variant}"] = stack.enter_context(serving(self.model, *flags))
            turns = self.compare(servers)
        record = RivalRecord(
            **started.model_dump(),
            model=f"{bundle.manifest.name}/{bundle.manifest.version}",
            digest=bundle.digest,
            images=self.images,
            duration_s=self.duration_s,
            trials=trials,
            turns=turns,
        )
        self.write(record, "rival")

    def _trial(self, network: Path, threads: int) -> float:
        """Return the plain server's img/s with so many threads per image, under the most load."""
        flags = "--concurrency", str(max(self.concurrency))
        with self._plain(network, threads) as server:
            turns = [server.load(self.images, self.duration_s / 2, *flags) for _ in range(2)]
        return median(turn.images_per_second for turn in turns)

    def _plain(self, network: Path, threads: int) -> AbstractContextManager[Server]:
        command = [sys.executable, "-m", PLAIN, "--model", str(self.model), "--threads"]
        return listening([*command, str(threads), "--network", str(network)])


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
