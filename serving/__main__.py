"""`python -m serving`: serve the bundles named by --model until a signal, or list `devices`."""

import logging
import os
import sys

from pydantic import ValidationError
from pydantic_settings import CliApp, SettingsError

from serving.config import DevicesConfig, ServingConfig
from serving.errors import ServingError


def main() -> int:
    """Return the exit code: 0 after a signal or a list, 1 where it cannot start, 2 usage."""
    words = sys.argv[1:]
    try:
        if words[:1] == ["devices"]:
            return _list_devices(CliApp.run(DevicesConfig, cli_args=words[1:]))
        config = CliApp.run(ServingConfig)
    except (ValidationError, SettingsError) as error:
        return _fail(_explain(error), 2)
    return _serve(config)


# The imports are inside, so that --help need not wait for gRPC, runtimes and image libraries.
def _list_devices(config: DevicesConfig) -> int:
    from serving.devices import show

    show(config)
    return 0


def _serve(config: ServingConfig) -> int:
    logging.basicConfig(
        level=config.log_level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    # One hand-over between threads less per call; gRPC reads this when it is imported.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
    import uvloop

    from bundle.store import BundleError
    from images.decoders import configure
    from serving.server import serve

    configure()
    try:
        loaded = uvloop.run(serve(config))
    except (BundleError, ServingError) as error:
        return _fail(str(error), 1)
    if not loaded:
        # The loading thread is inside a runtime and cannot be interrupted; nothing waits for it.
        os._exit(0)
    return 0


def _fail(message: str, code: int) -> int:
    print(f"python -m serving: {message}", file=sys.stderr)
    return code


def _explain(error: ValidationError | SettingsError) -> str:
    if isinstance(error, SettingsError):
        return str(error)
    return "; ".join(
        _explain_one(str(e["loc"][0]) if e["loc"] else "", e["msg"]) for e in error.errors()
    )


def _explain_one(field: str, message: str) -> str:
    flag = f"--{field.replace('_', '-')}: " if field else ""
    return f"{flag}{message}"


if __name__ == "__main__":
    sys.exit(main())
