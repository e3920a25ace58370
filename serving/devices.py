"""`python -m serving devices`: what this machine runs models on, and what the rest lacks."""

import json
import sys
from typing import NamedTuple, get_args

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from serving.backends.devices import Device, Kind
from serving.backends.hardware import missing, present
from serving.backends.selection import RUNTIMES
from serving.backends.settings import Runtime
from serving.config import DevicesConfig

# A pipe has no width: a row stays one line there.
UNBOUNDED = 1000


class Ability(NamedTuple):
    """A runtime on a device; `missing` is what it lacks here, None where it runs."""

    device: str
    runtime: Runtime
    missing: str | None


def abilities(config: DevicesConfig) -> list[Ability]:
    """Ask for every runtime on every device that is here, and on the first of each other kind."""
    devices = [
        Device(kind, ordinal) for kind in get_args(Kind) for ordinal in range(present(kind) or 1)
    ]
    return [
        Ability(str(device), runtime, missing(runtime, device, config.lite_python))
        for device in devices
        for runtime in RUNTIMES[device.kind]
    ]


def show(config: DevicesConfig) -> None:
    """Print a table, or JSON for programs."""
    found = abilities(config)
    if config.as_json:
        print(json.dumps([ability._asdict() for ability in found], indent=2))
        return
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("Device", "Runtime", "Runs here", "Missing"):
        table.add_column(heading, overflow="fold")
    for device, runtime, lacks in found:
        table.add_row(device, runtime, "no" if lacks else "yes", lacks or "")
    Console(width=None if sys.stdout.isatty() else UNBOUNDED, highlight=False).print(table)
