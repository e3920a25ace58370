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
from serving.config import DevicesConfig, ServingConfig

LOCAL = {"127.0.0.1", "0.0.0.0", "::1", "::", "localhost"}  # noqa: S104 - compared, not bound


def banner(bundle: Bundle | None, config: ServingConfig, grpc_port: int, http_port: int) -> str:
    """Return the addresses of a server that has loaded `bundle`, and commands to try it.

    What only the caller has, they name: certificates, and a token in the variable CLIENTS_TOKEN.
    """
    host = config.host
    name = "localhost" if host in LOCAL else f"[{host}]" if ":" in host else host
    grpc = f"{name}:{grpc_port}"
    http = f"{'https' if config.tls_cert else 'http'}://{name}:{http_port}"
    client = f"{_quoted(Path(sys.executable))} -m clients"
    if config.tls_cert:
        grpc_flags, http_flags = " --tls-ca CA.pem", " --cacert CA.pem"
    else:
        grpc_flags = http_flags = ""
    if config.tls_client_ca:
        grpc_flags += " --tls-cert CLIENT.pem --tls-key CLIENT.key"
        http_flags += " --cert CLIENT.pem --key CLIENT.key"
    if config.token_file:
        http_flags += ' -H "authorization: Bearer $CLIENTS_TOKEN"'
    if bundle:
        image = _quoted(_sample(bundle))
        ask, fetch = f"classify {image}", f"-T {image} {http}/v1/classify"
    else:  # nothing is loaded yet
        ask, fetch = "models list", f"{http}/v2/repository/index"
    lines = [
        f"gRPC  {grpc}",
        f"HTTP  {http}/metrics",
        f"Try   {client} {ask} --address {grpc}{grpc_flags}",
        f"or    curl{http_flags} {fetch}",
    ]
    return "\n".join(lines + ([f"Page  {http}/"] if config.page == "on" else []))


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
