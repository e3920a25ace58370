"""`python -m benchmarks.gpu_session`: a session of one variant, bare; `benchmarks.gpu` runs it."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt

from benchmarks.command import Benchmark, configured, start
from benchmarks.variants import USUAL, BatchTimes, Variant, VariantTimes
from bundle.golden import prove_pixels
from bundle.manifest import Precision
from bundle.store import Bundle
from images.transform import Pixels
from serving.backends.backend import Target
from serving.backends.devices import Device
from serving.backends.ort.bound import NO_GRAPH, PLAIN_RUNS
from serving.backends.ort.library import onnxruntime
from serving.backends.ort.options import providers
from serving.backends.ort.session import check_placement, prepare, session_options
from serving.backends.settings import DEFAULTS

FEWEST_RUNS = 3


class GpuSession(Benchmark):
    """Measure one variant of a file; print all that is known after every step, a line of JSON."""

    model_config = configured("benchmarks.gpu_session")

    model: Path = Field(Path("build/gpu/resnext152_64x4d/1"), description="bundle directory")
    precision: Precision = Field("fp16", description="of the file")
    device: str = Field("cuda", description="one device")
    variant: str = Field(USUAL, description="what is changed; see benchmarks/README.md")
    batches: list[PositiveInt] = Field([1, 32, 128], description="sizes, comma-separated")
    duration_s: PositiveFloat = Field(2.0, description="length of each measurement, in seconds")

    def run(self) -> int:
        """Measure; return 1 if something failed."""
        variant, bundle = Variant.parse(self.variant), Bundle.open(self.model)
        golden, pixels = prove_pixels(bundle)
        file, device = bundle.file("onnx", self.precision), Device.parse(self.device)
        target = Target(bundle.path, bundle.manifest, file, device, self.batches, DEFAULTS)
        found = VariantTimes(precision=self.precision, variant=self.variant)
        started = time.monotonic()
        session = open_variant(target, variant)
        found.opened_s = time.monotonic() - started
        _print(found)
        sizes = dict[int, Bound]()
        for batch in self.batches:
            bound = Bound(session, target, batch, pixels, golden.probabilities())
            times = BatchTimes(batch=batch)
            found.batches.append(times)
            if _tried(times, partial(self._measure, bound, times, variant)):
                sizes[batch] = bound
            _print(found)
        for times in found.batches:
            if times.batch in sizes:
                _tried(times, partial(_replay, sizes[times.batch], times))
                _print(found)
        return int(found.failed)

    def _measure(self, bound: "Bound", times: BatchTimes, variant: Variant) -> None:
        bound.upload(bound.pixels)
        if not variant.at_once:
            times.first_s = _seconds(lambda: bound.run(NO_GRAPH))
            for _ in range(PLAIN_RUNS - 1):
                bound.run(NO_GRAPH)
        times.capture_s = _seconds(bound.run)
        times.ms = self._mean_ms(bound.run)
        times.ms_with_copies = self._mean_ms(bound.run_with_copies)
        times.difference = bound.difference()

    def _mean_ms(self, run: Callable[[], object]) -> float:
        runs, started = 0, time.monotonic()
        while (seconds := time.monotonic() - started) < self.duration_s or runs < FEWEST_RUNS:
            run()
            runs += 1
        return seconds / runs * 1e3


class Bound:
    """Batches of one size, at addresses on the device that do not change.

    `pixels` and `expected` are those of the golden images, over and over.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        target: Target,
        batch: int,
        pixels: Pixels,
        expected: NDArray[np.float32],
    ) -> None:
        self._session, self._graph = session, batch
        self.pixels = np.resize(pixels, (batch, *pixels.shape[1:]))
        self._expected = np.resize(expected, (batch, expected.shape[1]))
        memory = ("cpu", 0) if target.device.kind == "cpu" else ("cuda", target.device.ordinal)
        empty = onnxruntime.OrtValue.ortvalue_from_shape_and_type
        self._images = empty(list(self.pixels.shape), np.uint8, *memory)
        self._answers = empty(list(self._expected.shape), np.float32, *memory)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(target.manifest.input.name, self._images)
        self._binding.bind_ortvalue_output(target.manifest.output.name, self._answers)

    def upload(self, pixels: Pixels) -> None:
        """Copy a batch to the device."""
        self._images.update_inplace(np.ascontiguousarray(pixels))

    def run(self, graph: int | None = None) -> None:
        """Run the batch there; the first run under a graph's name records it, later ones replay."""
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(graph or self._graph))
        self._session.run_with_iobinding(self._binding, options)

    def run_with_copies(self) -> None:
        """Run the batch as a server does."""
        self.upload(self.pixels)
        self.run()
        self._answers.numpy()

    def difference(self, *, turned: bool = False) -> float:
        """Return the largest difference from the golden probabilities."""
        expected = self._expected[::-1] if turned else self._expected
        return float(np.abs(self._answers.numpy() - expected).max())


def open_variant(target: Target, variant: Variant) -> onnxruntime.InferenceSession:
    """Open a session as the server does, but for what the variant changes.

    Raises:
        StartupError: it does not run as that says; what a provider cannot run, for example, would
            be measured on the CPU.
    """
    [(provider, usual), *others] = providers(target)
    wanted = [(provider, {**usual, **variant.options}), *others]
    options = session_options(target)
    prepare(target)
    with TemporaryDirectory(prefix="variant-") as scratch:
        path = target.path
        if variant.unmerged:
            from benchmarks.unmerged import write_unmerged

            path = write_unmerged(path, Path(scratch) / path.name)
        session = onnxruntime.InferenceSession(path, options, wanted, enable_fallback=0)
    check_placement(session, target.device, wanted[0])
    return session


def _replay(bound: Bound, times: BatchTimes) -> None:
    """Run the graph again, after those of the other sizes, with the images in other places."""
    bound.upload(bound.pixels[::-1])
    bound.run()
    times.replay_difference = bound.difference(turned=True)


def _tried(times: BatchTimes, step: Callable[[], None]) -> bool:
    """Return whether a step succeeded; what a batch size fails with is a finding."""
    try:
        step()
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base
        times.error = str(error)
    return times.error is None


def _seconds(run: Callable[[], None]) -> float:
    started = time.monotonic()
    run()
    return time.monotonic() - started


def _print(found: VariantTimes) -> None:
    print(found.model_dump_json(), flush=True)


if __name__ == "__main__":
    start(GpuSession)
