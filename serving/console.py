"""What `python -m serving` prints: the banner of a ready server, and the table of devices."""

import json
import shlex
import sys
from pathlib import Path
from typing import NamedTuple, get_args

from bundle.golden import sealed_golden
from bundle.store import Bundle
from cli.tables import show_rows
from serving.backends.devices import Device, Kind
from serving.backends.hardware import missing, present
from serving.backends.runtimes import RUNTIMES
from serving.backends.settings import Runtime
from serving.config import DevicesConfig

LOCAL = {"127.0.0.1", "0.0.0.0", "::1", "::", "localhost"}  # noqa: S104 - compared, not bound


def banner(
    bundle: Bundle | None, host: str, grpc_port: int, http_port: int, *, page: bool = False
) -> str:
    """Return the addresses of a server that has loaded `bundle`, and commands to try it."""
    name = "localhost" if host in LOCAL else f"[{host}]" if ":" in host else host
    grpc, http = f"{name}:{grpc_port}", f"http://{name}:{http_port}"
    clients = f"{_quoted(Path(sys.executable))} -m clients"
    if bundle:
        image = _quoted(_sample(bundle))
        commands = (
            f"{clients} classify {image} --address {grpc}",
            f"curl -T {image} {http}/v1/classify",
        )
    else:  # nothing is loaded yet
        commands = f"{clients} models list --address {grpc}", f"curl {http}/v2/repository/index"
    lines = f"gRPC  {grpc}", f"HTTP  {http}/metrics", f"Try   {commands[0]}", f"or    {commands[1]}"
    return "\n".join([*lines, f"Page  {http}/"] if page else lines)


class Support(NamedTuple):
    """A runtime on a device; `missing` is what it lacks on this machine, None if it runs."""

    device: str
    runtime: Runtime
    missing: str | None


def show_devices(config: DevicesConfig) -> None:
    """Print every runtime on every device, as a table or as JSON."""
    found = _supported(config.lite_python)
    if config.as_json:
        print(json.dumps([support._asdict() for support in found], indent=2))
        return
    headings = ("Device", "Runtime", "Runs here", "Missing")
    rows = [(s.device, s.runtime, "no" if s.missing else "yes", s.missing or "") for s in found]
    show_rows(headings, rows, text_columns=len(headings))


def _supported(lite_python: Path | None) -> list[Support]:
    """Check every device of this machine, and the first of each kind that it does not have."""
    devices = [
        Device(kind, ordinal) for kind in get_args(Kind) for ordinal in range(present(kind) or 1)
    ]
    return [
        Support(str(device), runtime, missing(runtime, device, lite_python))
        for device in devices
        for runtime in RUNTIMES[device.kind]
    ]


def _sample(bundle: Bundle) -> Path:
    return bundle.path / sealed_golden(bundle).images[0].path


def _quoted(path: Path) -> str:
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
