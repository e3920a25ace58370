"""`python -m benchmarks.gpu_kit` builds the kit; `restore` makes its bundle whole where it runs."""

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt
from pydantic_settings import CliPositionalArg

from benchmarks.command import Benchmark, configured, errors
from cli.program import Command, UsageError, main, revision

RUN = Path(__file__).with_name("run.py")
SOURCE, KIT = "source.tar.xz", "kit.json"


class Build(Benchmark):
    """Build a folder that measures on a borrowed machine: one NVIDIA GPU, PyTorch, no network.

    On that machine: python3 run.py --output DIR. It calls `restore`, which has its own --help.
    """

    model_config = configured("benchmarks.gpu_kit")

    output: Path = Field(Path("build/gpu_kit"), description="folder of the kit, replaced")
    model: Path = Field(
        Path("build/gpu/resnext152_64x4d/1"),
        description="bundle that `python -m benchmarks.models` wrote",
    )
    sm: PositiveInt = Field(
        90, description="compute capability of the GPU: 80 for A100, 89 for L40 and RTX 4090, "
        "90 for H100 and H200, 120 for RTX 5090"
    )  # fmt: skip
    python: Literal["3.11", "3.12"] = Field("3.12", description="Python of the machine")
    cache: Path = Field(
        Path("build/gpu_wheels"), description="folder that keeps the wheels as they come"
    )

    def run(self) -> None:
        """Fetch, trim, cut and pack; print what takes how much."""
        # Here, so that --help need not wait, and `restore` need not have packaging.
        from benchmarks.gpu_kit.skeleton import cut
        from benchmarks.gpu_kit.wheels import LOCK, RUNTIME, carried, download, repack
        from bundle.store import Bundle

        bundle, commit = Bundle.open(self.model), _revision()
        shutil.rmtree(self.output, ignore_errors=True)
        (self.output / "wheels").mkdir(parents=True)
        lines = list(carried(LOCK, self.python))
        for wheel in download(lines, self.python, self.cache / self.python):
            target = self.output / "wheels" / wheel.name
            if wheel.name.startswith(RUNTIME.replace("-", "_")):
                trimmed = repack(wheel, target, self.sm)
                print(
                    f"{RUNTIME}: {trimmed.kept >> 20} MiB of device code kept, for sm_{self.sm}, "
                    f"{trimmed.blanked >> 20} MiB blanked, in {trimmed.modules} modules"
                )
            else:
                shutil.copyfile(wheel, target)
        cut(bundle, self.output / "skeleton")
        pack_source(Path(), self.output / SOURCE)
        shutil.copyfile(RUN, self.output / RUN.name)
        about = {"revision": commit, "python": self.python, "sm": self.sm, "digest": bundle.digest}
        (self.output / KIT).write_text(json.dumps(about, indent=2) + "\n")
        for part in sorted(self.output.iterdir()):
            print(f"{_size(part) / 1e6:7.1f} MB  {part.name}")
        print(f"{_size(self.output) / 1e6:7.1f} MB  {self.output}")


class Restore(Benchmark):
    """Make the bundle of a kit whole again: the weights come from a counter."""

    model_config = configured("benchmarks.gpu_kit_restore")

    skeleton: CliPositionalArg[Path] = Field(description="folder `skeleton` of the kit")
    output: CliPositionalArg[Path] = Field(description="directory of the bundle")

    def run(self) -> None:
        """Write it, and check its seal."""
        from benchmarks.gpu_kit.skeleton import restore

        bundle = restore(self.skeleton, self.output)
        print(f"bundle    {bundle.path}\ndigest    {bundle.digest}")


def _revision() -> str:
    if commit := revision():
        return commit
    raise UsageError("a kit names the revision that it measures: build it in a checkout, with git")


def pack_source(tree: Path, target: Path) -> None:
    """Pack the files of a checkout that git knows, as they are."""
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=tree, capture_output=True, check=True).stdout  # noqa: S603
    with tarfile.open(target, "w:xz") as packed:
        for name in filter(None, listed.decode().split("\0")):
            if (tree / name).exists():
                packed.add(tree / name, name)


def _size(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


if __name__ == "__main__":
    commands = {"": Command(Build, Build.run), "restore": Command(Restore, Restore.run)}
    sys.exit(main(commands, errors))
