"""`python -m benchmarks.load`: load a running server and measure its answers."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from pydantic_settings import CliToggleFlag, SettingsConfigDict

from cli.program import FLAGS, Command, UsageError, main
from clients.settings import ServerSettings

if TYPE_CHECKING:
    from benchmarks.load.http_wire import HttpWire
    from benchmarks.load.runs import Load
    from benchmarks.load.wire import Wire


class LoadTest(ServerSettings):
    """Load a server, closed loop and open loop, and print what it answered and how fast."""

    model_config = SettingsConfigDict(
        **FLAGS, env_prefix="BENCH_LOAD_", cli_prog_name="python -m benchmarks.load"
    )

    open_inference: CliToggleFlag[bool] = Field(
        default=False, description="call ModelInfer of the Open Inference Protocol, not Classify"
    )
    http_path: str = Field(
        "",
        description="post images as they are to this path, such as /v1/classify, instead of gRPC",
    )
    http_address: str = Field("localhost:8080", description="host:port of the server's HTTP")
    concurrency: list[PositiveInt] | None = Field(
        None,
        description="closed loops: requests in flight, comma-separated; 1,8,32,128 without --rate",
    )
    rate: list[PositiveFloat] = Field(
        [], description="open loops: mean requests per second, comma-separated"
    )
    duration_s: PositiveFloat = Field(10.0, description="length of a run, in seconds")
    warm_up_s: NonNegativeFloat = Field(
        1.0, description="load before each run that is not counted, in seconds"
    )
    timeout_ms: PositiveFloat = Field(
        1000.0, description="deadline of each request, in milliseconds"
    )
    images: str = Field("examples/images", description="file, folder or glob; sent in turn")
    model: str = Field("", description="name of the model, if the server has several")
    version: str = Field("", description="version of the model; the newest if empty")
    output: Path | None = Field(None, description="folder for bench.json and bench.png")


# The imports are inside, so that gRPC is imported after its environment is set, and --help is fast.
def _run(settings: LoadTest) -> None:
    """Run every load, print the tables, and write the files if asked to."""
    from rich.console import Console

    from benchmarks.load.output import new_figure, print_reports, write
    from benchmarks.load.runs import measure

    # Without matplotlib, say so before anything is measured.
    figure = new_figure() if settings.output else None
    with settings.connect() as client:
        model = client.get_model(settings.model, settings.version)
    opened, requests = _wire(settings, model.name)
    with opened as wire:
        runs = measure(
            wire,
            _loads(settings),
            requests,
            seconds=settings.duration_s,
            warm_up_s=settings.warm_up_s,
            timeout_s=settings.timeout_ms / 1e3,
        )
        with Console(stderr=True).status("Measuring"):
            reports = list(runs)
    print_reports(reports)
    if settings.output:
        write(settings.output, model, reports, figure)


def _wire(settings: LoadTest, model: str) -> "tuple[Wire | HttpWire, list[bytes]]":
    """Return a connection to the server, and the requests for it."""
    from benchmarks.load import http_wire, wire

    address, images, version = settings.address, settings.images, settings.version
    if path := settings.http_path:
        shown = settings.shown(settings.http_address)
        if shown.credentials:
            raise UsageError("over HTTP the load tester speaks no TLS; load gRPC instead")
        requests = http_wire.read_requests(images, path, shown.metadata)
        return http_wire.HttpWire(settings.http_address), requests
    shown = settings.shown(address)
    if settings.open_inference:
        requests = wire.read_infer_requests(address, images, model, version, shown)
        return wire.Wire(address, wire.INFER, shown), requests
    requests = wire.read_requests(images, model=settings.model, version=version)
    return wire.Wire(address, shown=shown), requests


def _loads(settings: LoadTest) -> "list[Load]":
    from benchmarks.load.runs import Closed, Open

    concurrency = settings.concurrency
    if concurrency is None:
        concurrency = [] if settings.rate else [1, 8, 32, 128]
    return [*map(Closed, concurrency), *map(Open, settings.rate)]


def _errors() -> tuple[type[Exception], ...]:
    from benchmarks.load.wire import GrpcioVersionError
    from clients.errors import ClassifierError

    return ClassifierError, GrpcioVersionError


if __name__ == "__main__":
    # One hand-over between threads less per call; gRPC reads this when it is imported.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client")
    sys.exit(main({"": Command(LoadTest, _run)}, _errors))
