"""`python -m clients bench`."""

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel, Field, NonNegativeFloat, PositiveFloat, PositiveInt
from rich.console import Console

from benchmarks.load.report import Report
from benchmarks.load.runs import Closed, Load, Open, measure
from benchmarks.load.table import print_reports
from benchmarks.load.wire import Wire
from clients.client import DEFAULT_ADDRESS, ClassifierClient
from clients.files import UsageError, find_images
from clients.messages import classify_request
from clients.types import ModelInfo


class Bench(BaseModel):
    """Load a server, closed loop and open loop, and print what it answered and how fast."""

    address: str = Field(DEFAULT_ADDRESS, description="host:port of the server")
    concurrency: list[PositiveInt] | None = Field(
        None, description="closed loops: requests in flight; 1,8,32,128 where no rate is given"
    )
    rate: list[PositiveFloat] = Field([], description="open loops: mean requests per second")
    duration_s: PositiveFloat = Field(
        10.0, alias="duration", description="length of a run, in seconds"
    )
    warm_up_s: NonNegativeFloat = Field(
        1.0, alias="warm-up", description="load before each run that is not counted, in seconds"
    )
    timeout_ms: PositiveFloat = Field(
        1000.0, description="deadline of each request, in milliseconds"
    )
    images: str = Field("examples/images", description="file, folder or glob; sent in turn")
    model: str = Field("", description="name of the model, where the server holds several")
    version: str = Field("", description="version of the model; the newest if empty")
    output: Path | None = Field(None, description="folder for bench.json and bench.png")

    def cli_cmd(self) -> None:
        """Run every load, print a table, and write the files where asked to."""
        plot = _plot() if self.output else None
        requests = [
            classify_request(
                [path], top_k=1, model=self.model, version=self.version, full_probabilities=False
            ).SerializeToString()
            for path in find_images([self.images])
        ]
        with Wire(self.address) as wire, ClassifierClient(self.address) as client:
            model = client.get_model(self.model, self.version)
            reports = self._measure(wire, requests)
        print_reports(reports)
        if self.output and plot:
            self.output.mkdir(parents=True, exist_ok=True)
            (self.output / "bench.json").write_text(_record(model, reports))
            plot(reports, _title(model), self.output / "bench.png")

    def _loads(self) -> list[Load]:
        concurrency = self.concurrency
        if concurrency is None:
            concurrency = [] if self.rate else [1, 8, 32, 128]
        return [*map(Closed, concurrency), *map(Open, self.rate)]

    def _measure(self, wire: Wire, requests: Sequence[bytes]) -> list[Report]:
        reports = measure(
            wire,
            self._loads(),
            requests,
            seconds=self.duration_s,
            warm_up_s=self.warm_up_s,
            timeout_s=self.timeout_ms / 1e3,
        )
        with Console(stderr=True).status("Measuring"):
            return list(reports)


def _plot() -> Callable[[Sequence[Report], str, Path], None]:
    """Return the function that draws; ask for matplotlib before anything is measured."""
    try:
        from benchmarks.load.plot import plot
    except ModuleNotFoundError as error:
        raise UsageError("--output draws a picture: pip install 'resnext-serving[plot]'") from error
    return plot


def _title(model: ModelInfo) -> str:
    return f"{model.name} {model.version}, {model.precision} on {model.device} ({model.runtime})"


def _record(model: ModelInfo, reports: Sequence[Report]) -> str:
    names = ("name", "version", "digest", "runtime", "device", "precision")
    record = {
        "model": {name: getattr(model, name) for name in names},
        "client": {"machine": platform.machine(), "cpus": os.cpu_count()},
        "runs": [asdict(report) for report in reports],
    }
    return json.dumps(record, indent=2) + "\n"
