"""What was measured, with everything that a reader needs to judge or repeat it."""

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel

from cli.cores import cpu_model, usable_cores
from cli.program import revision

# Where there is no git: what a kit for a borrowed machine was built from.
REVISION = "BENCH_REVISION"
LIBRARIES = ("grpcio", "numpy", "onnxruntime", "opencv-python-headless", "pillow")


class Machine(BaseModel):
    """What it ran on; `load` is the mean number of runnable processes in the minute before."""

    cpu: str
    cores: int
    system: str
    load: float


class Record(BaseModel):
    """One run of a benchmark; subclasses add what it measured."""

    command: str
    started: datetime
    revision: str
    machine: Machine
    versions: dict[str, str]

    def write(self, folder: Path, name: str, table: str) -> None:
        """Write `<name>.json`, and `<name>.md`: the circumstances, then the table."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(self.model_dump_json(indent=2) + "\n")
        (folder / f"{name}.md").write_text(f"{self._circumstances()}\n{table}")

    def _circumstances(self) -> str:
        libraries = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return (
            f"`{self.command}`, {self.started:%Y-%m-%d %H:%M} UTC, revision {self.revision}\n\n"
            f"{self.machine.cpu}, {self.machine.cores} cores, load {self.machine.load:.2f} before "
            f"the run; {self.machine.system}; {libraries}\n"
        )


def circumstances(module: str, libraries: Sequence[str] = LIBRARIES) -> Record:
    """Return the record of a run of `python -m <module>` that begins now."""
    return Record(
        command=shlex.join(["python", "-m", module, *sys.argv[1:]]),
        started=datetime.now(UTC),
        revision=os.environ.get(REVISION) or revision() or "unknown",
        machine=Machine(
            cpu=cpu_model(),
            cores=usable_cores().usable,
            system=f"{platform.system()} {platform.release()} {platform.machine()}",
            load=os.getloadavg()[0],
        ),
        versions={"python": platform.python_version()} | {n: version(n) for n in libraries},
    )


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """Return the same table in Markdown."""
    rule = ["---"] * text_columns + ["---:"] * (len(header) - text_columns)
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, rule, *rows))
