"""The command line that every benchmark has."""

import os
import signal
import sys
from abc import abstractmethod
from pathlib import Path
from typing import NoReturn

from pydantic_settings import BaseSettings, SettingsConfigDict

from cli.program import FLAGS, Command, main

RESULTS = Path("benchmarks/results")


class Benchmark(BaseSettings):
    """The settings of a benchmark, and what it does with them."""

    @abstractmethod
    def run(self) -> int | None:
        """Measure, print the table, and write the record; return an exit code other than 0."""


def configured(module: str) -> SettingsConfigDict:
    """Return how the settings of `python -m <module>` are read; their variables are BENCH_..."""
    prefix = module.replace("benchmarks", "bench").replace(".", "_").upper()
    return SettingsConfigDict(**FLAGS, env_prefix=f"{prefix}_", cli_prog_name=f"python -m {module}")


def start(benchmark: type[Benchmark]) -> NoReturn:
    """Run a benchmark as this process."""
    from images.decoders import configure

    configure()
    # As on Ctrl-C, the servers that it has started end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # What `python -m serving` and the load tester set for gRPC, which reads it when it is imported:
    # children inherit it, and a benchmark that sends requests itself imports gRPC after this.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener,-event_engine_client")
    sys.exit(main({"": Command(benchmark, benchmark.run)}, errors))


def errors() -> tuple[type[Exception], ...]:
    """Return the exceptions whose message is for the user."""
    from bundle.store import BundleError

    return (BundleError,)
