"""Loads each model as the server would, in a process of its own, and measures what that takes.

A crash of a runtime, or the kernel that ends a process for its memory, so costs one finding and no
more, and what the model took is given back.
"""

import multiprocessing
import signal
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from cli.text import printable
from serving.child import ending
from serving.config import ServingConfig

MORE_MEMORY = "allow more memory, or lower --instances or --buckets"
LOOK = "see what standard error says, and try another --runtime or --device"


@dataclass(frozen=True)
class Loaded:
    """A model that has proved itself, and what it takes.

    Attributes:
        path: its bundle.
        name: its name.
        version: its version.
        images_per_s: by its warm-up, all instances together, without decoding.
        program_bytes: memory of the process before the load, which any server takes.
        loaded_bytes: memory of the model once it is loaded.
        peak_bytes: the most that it took meanwhile.
        address_bytes: the most addresses of the process.
        shared_bytes: what it takes of /dev/shm.
        slot_bytes: pixels of an image, as the network sees it.
        decoders: threads that may decode at once.
        threads: those of the process.
        log: what the log says, by logger.
        warnings: what it warns of.
    """

    path: Path
    name: str
    version: str
    images_per_s: float
    program_bytes: int
    loaded_bytes: int
    peak_bytes: int
    address_bytes: int
    shared_bytes: int
    slot_bytes: int
    decoders: int
    threads: int
    log: dict[str, list[str]]
    warnings: list[str]


@dataclass(frozen=True)
class Failed:
    """A model that cannot be loaded: why, what to do, and the warnings of the log before."""

    path: Path
    reason: str
    advice: str
    warnings: list[str]


def load(path: Path, config: ServingConfig) -> Loaded | Failed:
    """Load a bundle in a process of its own, and return what that has shown."""
    if sys.stderr.isatty():
        print(f"loading {printable(str(path))}", file=sys.stderr)
    # Not a fork: threads and devices of this process would come along.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(theirs, path, config), daemon=True)
    process.start()
    theirs.close()
    with ours:
        try:
            result: Loaded | Failed = ours.recv()
        except EOFError:
            process.join()
            how = f"its process {ending(code := process.exitcode or 0)}"
            return Failed(path, how, MORE_MEMORY if code == -signal.SIGKILL else LOOK, [])
    process.join()
    return result


def _measure(pipe: Connection, path: Path, config: ServingConfig) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is told once, by the parent
    from serving.doctor.worker import measure

    pipe.send(measure(path, config))
