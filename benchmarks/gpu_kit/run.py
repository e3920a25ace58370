"""Runs on the borrowed machine, from the kit's folder: everything once, in one go, whatever fails.

In the standard library alone, because nothing is installed yet. Exit codes: 0, 1 if a step failed
or was left out, 2 for another Python than the kit's, 3 if all is prepared and there is no driver.
"""

import argparse
import ctypes
import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple, TextIO

FAILED, WRONG_PYTHON, NO_DRIVER = 1, 2, 3
LIMIT_S = 450.0
# A step that would have less than this to run in is left out.
LEAST_S = 15.0
LAST_CHARACTERS = 6000

FP16_VARIANTS = (
    "usual", "use_tf32=0", "unmerged", "fuse_conv_bias=1", "prefer_nhwc=0",
    "prefer_nhwc=0+fuse_conv_bias=1", "cudnn_conv_algo_search=EXHAUSTIVE", "capture-at-once",
    "enable_cuda_graph=0",
)  # fmt: skip
FP32_VARIANTS = ("usual", "use_tf32=1", "unmerged", "fuse_conv_bias=1", "prefer_nhwc=1")
PYTEST = (
    "pytest", "-q", "-p", "pytest_asyncio.plugin", "-p", "pytest_timeout", "-p", "no:cacheprovider",
    "-m", "gpu", "tests/serving/backends/test_accelerators.py",
)  # fmt: skip


class Step(NamedTuple):
    """A module to run, with its arguments, for so many seconds at most."""

    name: str
    limit_s: float
    arguments: Sequence[str]


class Done(NamedTuple):
    """How a step ended; the code is None if it was left out, or ended at its limit."""

    name: str
    code: int | None
    seconds: float


def steps(bundle: Path, photos: Path, output: Path) -> list[Step]:
    """Return what is measured, what matters most first."""
    gpu = ["benchmarks.gpu", "--model", str(bundle), "--output", str(output), "--images"]
    gpu += [str(photos), "--duration-s"]
    bare = ["--concurrency", "[]", "--variant-timeout-s", "60", "--batches"]
    fp16 = ["--precisions", "fp16", "--variants", ",".join(FP16_VARIANTS), "--name", "gpu-fp16"]
    fp32 = ["--precisions", "fp32", "--variants", ",".join(FP32_VARIANTS), "--name", "gpu-fp32"]
    return [
        Step("fp16, variants", 160, [*gpu, "1.5", *bare, "1,32,128", *fp16]),
        Step("tests", 90, PYTEST),
        Step("bare and served", 150, [*gpu, "3", "--precisions", "fp16,fp32"]),
        Step("fp32, variants", 90, [*gpu, "1", *bare, "1,128", *fp32]),
        Step("PyTorch", 60, ["benchmarks.gpu_torch"]),
    ]


class Run:
    """A run of the kit: what it says, what its steps print, and how they end.

    Args:
        log: gets all of that.
        limit_s: seconds until the last step has ended.
    """

    def __init__(self, log: TextIO, limit_s: float) -> None:
        self._log, self._limit_s, self._started = log, limit_s, time.monotonic()
        self.done: list[Done] = []

    def say(self, text: str) -> None:
        """Print and log a line."""
        line = f"== {time.monotonic() - self._started:.0f} s: {text}"
        for stream in (sys.stdout, self._log):
            print(line, file=stream, flush=True)

    def show_machine(self) -> None:
        """Log what the machine is, and how busy its GPUs are."""
        print(platform.platform(), sys.version, file=self._log, flush=True)
        if nvidia_smi := shutil.which("nvidia-smi"):
            subprocess.run([nvidia_smi], stdout=self._log, stderr=self._log, check=False)  # noqa: S603

    def step(self, step: Step, cwd: Path, variables: Mapping[str, str]) -> None:
        """Run a step to its end, or to its limit."""
        began = time.monotonic()
        left_s = self._limit_s - (began - self._started)
        limit_s = min(step.limit_s, left_s)
        if left_s < LEAST_S:
            self.say(f"{step.name}: left out, the time is over")
            self.done.append(Done(step.name, None, 0.0))
            return
        self.say(f"{step.name}: at most {limit_s:.0f} s")
        code = self._ended([sys.executable, "-m", *step.arguments], cwd, variables, limit_s)
        took_s = time.monotonic() - began
        self.say(f"{step.name}: {'at its limit' if code is None else f'exit code {code}'}")
        self.done.append(Done(step.name, code, round(took_s, 1)))

    def _ended(
        self, command: list[str], cwd: Path, variables: Mapping[str, str], limit_s: float
    ) -> int | None:
        # A session of its own, so that servers and other children end with it.
        process = subprocess.Popen(  # noqa: S603
            command, cwd=cwd, env=variables, stdin=subprocess.DEVNULL, stdout=self._log,
            stderr=self._log, start_new_session=True,
        )  # fmt: skip
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def prepare(run: Run, kit: Path, work: Path, revision: str) -> tuple[Path, dict[str, str]]:
    """Install the wheels, unpack the source, restore the bundle; return source and variables."""
    source, site = work / "source", work / "site"
    with tarfile.open(kit / "source.tar.xz") as packed:
        packed.extractall(source, filter="data")
    site.mkdir(parents=True)
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(site), str(source)]),
        "PYTHONUNBUFFERED": "1",
        # There is no git, or that of another tree.
        "BENCH_REVISION": revision,
        # The image's plugins would have a say in tests that know nothing of them.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    wheels = sorted(str(path) for path in (kit / "wheels").glob("*.whl"))
    if wheels:
        pip = ["pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
        pip += ["--no-deps", "--no-compile", "--no-cache-dir", "--target", str(site), *wheels]
        run.step(Step("wheels", 120, pip), work, os.environ)
    # Where ONNX Runtime looks for CUDA and cuDNN: beside itself.
    nvidia = importlib.util.find_spec("nvidia")
    for folder in (nvidia.submodule_search_locations or []) if nvidia else []:
        if not (site / "nvidia").exists():
            (site / "nvidia").symlink_to(folder)
    restored = ["benchmarks.gpu_kit", "restore", str(kit / "skeleton"), str(work / "bundle")]
    run.step(Step("bundle", 120, restored), source, variables)
    photos = ["benchmarks.photos", "--output", str(work / "photos"), "--images", "32"]
    photos += ["--width", "500", "--height", "375", "--quality", "90"]
    run.step(Step("photos", 60, photos), source, variables)
    # It loads every library of the server, with a GPU or without.
    run.step(Step("devices", 60, ["serving", "devices"]), source, variables)
    return source, variables


def missing_driver() -> str | None:
    """Return why there is no NVIDIA driver; None if there is one."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return f"no NVIDIA driver: {error}"
    return None


def main() -> int:
    """Run the kit; return the exit code."""
    parser = argparse.ArgumentParser(description="Measure on this machine, in one go.")
    parser.add_argument("--output", type=Path, default=Path("gpu_results"), help="folder")
    parser.add_argument("--dry-run", action="store_true", help="prepare, and look for a driver")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help="seconds for everything")
    arguments = parser.parse_args()
    kit = Path(__file__).resolve().parent
    about = json.loads((kit / "kit.json").read_text())
    python = ".".join(platform.python_version_tuple()[:2])
    if about["python"] != python:
        print(
            f"error: this kit is for Python {about['python']}, and this is {python}: run it with "
            f"the other one, or build a kit with --python {python}",
            file=sys.stderr,
        )
        return WRONG_PYTHON
    output = arguments.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    work = Path(mkdtemp(prefix="gpu-kit-"))
    try:
        with (output / "log.txt").open("w") as log:
            run = Run(log, arguments.limit_s)
            return measure(run, kit, work, output, about, dry_run=arguments.dry_run)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        print((output / "log.txt").read_text(errors="replace")[-LAST_CHARACTERS:])


def measure(
    run: Run, kit: Path, work: Path, output: Path, about: Mapping[str, str], *, dry_run: bool
) -> int:
    """Prepare, look for a driver, and take every step; return the exit code."""
    run.show_machine()
    source, variables = prepare(run, kit, work, about["revision"])
    missing = missing_driver()
    run.say(missing or "there is an NVIDIA driver")
    for step in [] if missing or dry_run else steps(work / "bundle", work / "photos", output):
        run.step(step, source, variables)
        write_record(output, about, run.done)
    run.show_machine()
    write_record(output, about, run.done)
    if any(done.code != 0 for done in run.done):
        return FAILED
    return NO_DRIVER if missing else 0


def write_record(output: Path, about: Mapping[str, str], done: Sequence[Done]) -> None:
    """Write what ran, and how it ended."""
    record = {**about, "steps": [step._asdict() for step in done]}
    (output / "run.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
