"""`python -m benchmarks.gpu`: one network on a device in each precision, bare and served."""

import sys
import time
from functools import partial
from importlib.metadata import packages_distributions
from pathlib import Path

from pydantic import Field, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict
from rich.console import Console

from benchmarks.gpu_record import Bare, GpuRecord, Measured
from benchmarks.records import circumstances, show
from benchmarks.server import Load, Server, serving
from bundle.golden import prove_pixels, prove_probabilities
from bundle.manifest import ModelFile
from bundle.store import Bundle
from images.decoders import configure
from serving.backends.backend import Backend, predict
from serving.backends.devices import Device
from serving.backends.hardware import describe, missing
from serving.backends.opening import load

LIBRARIES = ("grpcio", "numpy")


class GpuBench(BaseSettings):
    """Measure a bundle's ONNX files on a GPU, and write the tables."""

    model_config = SettingsConfigDict(
        env_prefix="BENCH_GPU_", cli_prog_name="python -m benchmarks.gpu", cli_kebab_case=True
    )

    model: Path = Field(Path("build/benchmarks/resnext152_64x4d/1"), description="bundle directory")
    images: str = Field("build/benchmarks/photos", description="file, folder or glob")
    device: str = Field("cuda", description="as `python -m serving --device` takes it, but one")
    concurrency: list[PositiveInt] = Field([1, 32, 128], description="requests in flight")
    duration_s: PositiveFloat = Field(5.0, description="length of each measurement, in seconds")
    output: Path = Field(Path("benchmarks"), description="folder for gpu.md and gpu.json")

    def cli_cmd(self) -> None:
        """Measure, print and write."""
        device = Device.parse(self.device)
        if reason := missing("onnxruntime", device):
            sys.exit(f"{device} cannot be measured here: {reason}")
        bundle = Bundle.open(self.model)
        [runtime] = packages_distributions()["onnxruntime"]
        started = circumstances("benchmarks.gpu", (*LIBRARIES, runtime))
        files = [file for file in bundle.manifest.files if file.format == "onnx"]
        with Console(stderr=True).status("Measuring"):
            record = GpuRecord(
                **started.model_dump(),
                device=describe(device),
                model=f"{bundle.manifest.name}/{bundle.manifest.version}",
                digest=bundle.digest,
                measured=[self._measure(bundle, file, device) for file in files],
            )
        for title, header, rows in record.tables():
            show(title, header, rows)
        record.write(self.output, "gpu", record.markdown())

    def _measure(self, bundle: Bundle, file: ModelFile, device: Device) -> Measured:
        [backend] = load(bundle.path, bundle.manifest, file, device=device)
        golden, pixels = prove_pixels(bundle)
        difference = prove_probabilities(
            bundle, file, golden, pixels, partial(predict, backend, file.buckets)
        )
        bare = [self._bare(backend, bucket) for bucket in file.buckets]
        backend.close()
        return Measured(
            precision=file.precision,
            difference=difference,
            tolerance=file.tolerance,
            bare=bare,
            served=self._served(file, device),
        )

    def _bare(self, backend: Backend, batch: int) -> Bare:
        buffer = backend.allocate(batch)
        backend.run(buffer, batch)
        batches, started = 0, time.monotonic()
        while (seconds := time.monotonic() - started) < self.duration_s:
            backend.run(buffer, batch)
            batches += 1
        return Bare(batch=batch, images_per_second=batches * batch / seconds)

    def _served(self, file: ModelFile, device: Device) -> dict[int, Load]:
        flags = ["--device", str(device), "--precision", file.precision]
        with serving(self.model, *flags) as server:
            return {n: self._load(server, n) for n in self.concurrency}

    def _load(self, server: Server, concurrency: int) -> Load:
        return server.load(self.images, self.duration_s, "--concurrency", str(concurrency))


if __name__ == "__main__":
    configure()
    CliApp.run(GpuBench)
