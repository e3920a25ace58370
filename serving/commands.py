"""What `python -m serving` does: serve bundles until a signal; and other commands."""

import logging
import os

from cli.program import Command
from cli.program import main as run
from serving.config import DevicesConfig, ServingConfig
from serving.doctor.config import DoctorConfig
from serving.errors import ServingError
from serving.settings.access import TokenConfig
from serving.tune.config import TuneConfig


def main() -> int:
    """Return the exit code: 0 after a signal or a command, 1 if it cannot start, 2 for wrong flags.

    It is 70 (`lifecycle.UNFINISHED`) if something did not end in time after a signal, and 71
    (`lifecycle.DEVICE_LOST`) if the process lost its devices: a new one may have them again.
    """
    commands = {
        "": Command(ServingConfig, _serve),
        "devices": Command(DevicesConfig, _list),
        "doctor": Command(DoctorConfig, _examine, names="bundles"),
        "token": Command(TokenConfig, _token),
        "tune": Command(TuneConfig, _tune),
    }
    return run(commands, _errors)


# The imports are inside, so that --help does not wait for gRPC, runtimes and image libraries.
def _serve(config: ServingConfig) -> None:
    # gRPC reads these when it is imported. The first saves a thread switch per call. The second:
    # its core writes to standard error by itself, also what strangers cause.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import uvloop

    from images.decoders import configure
    from serving import logs
    from serving.server import serve

    logs.start(config.log_level, config.log_format)
    configure()
    try:
        loaded = uvloop.run(serve(config))
    finally:
        logging.shutdown()  # writes what waits: an error of the start comes after it
    if not loaded:
        # A thread is still loading, in a runtime that cannot be interrupted: do not wait for it.
        os._exit(0)


def _list(config: DevicesConfig) -> None:
    from serving.console import show_devices

    show_devices(config)


def _examine(config: DoctorConfig) -> int:
    from serving.doctor.command import examine

    return examine(config)


def _token(config: TokenConfig) -> None:
    from serving.access.command import make_token

    make_token(config)


def _tune(config: TuneConfig) -> None:
    from images.decoders import configure
    from serving.tune.command import tune

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    configure()
    tune(config)


def _errors() -> tuple[type[Exception], ...]:
    from bundle.store import BundleError

    return BundleError, ServingError
