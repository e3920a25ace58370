"""Is there something to gain or to keep in --cache-dir?"""

import os
from collections.abc import Iterator
from pathlib import Path

from serving.backends.devices import parse_devices
from serving.doctor.finding import Case, Finding
from serving.doctor.load import Loaded

TUNED = "serving.tune.use"


def check(case: Case) -> Iterator[Finding]:
    """See whether TensorRT's engines can be kept; else tell what `tune` has found."""
    [device, *_] = parse_devices(case.config.device)
    if device.kind == "tensorrt" and (folder := case.config.cache_dir):
        yield engines(folder)
    elif device.kind == "cpu" and case.config.tuned == "auto":
        yield from map(_tuned, case.loaded)
    else:
        yield Finding("ok", "this server needs nothing there")


def engines(folder: Path) -> Finding:
    """Return whether engines can be kept in a folder, which TensorRT makes if need be."""
    existing = next(part for part in (folder, *folder.parents) if part.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return Finding("ok", f"TensorRT's engines can be kept in {folder}")
    return Finding(
        "warn",
        f"{existing} is not writable, so each start builds TensorRT's engines anew, for minutes",
        "name a folder with --cache-dir that outlives the server and that its user may write",
    )


def _tuned(load: Loaded) -> Finding:
    if said := load.log.get(TUNED):
        return Finding("ok", "; ".join(said))
    return Finding(
        "ok",
        f"{load.path} is not tuned for this machine",
        f"python -m serving tune {load.path} --images FOLDER may find faster settings",
    )
