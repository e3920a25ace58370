"""Run the command line; exit with 1 where something failed, with 2 for a wrong call."""

import os
import sys

from pydantic import ValidationError
from pydantic_settings import CliApp, SettingsError


def main() -> None:
    """Run `python -m clients`."""
    # One hand-over between threads less per call; gRPC reads this when it is imported.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client")
    from clients.cli import Clients
    from clients.errors import ClassifierError
    from clients.files import UsageError

    try:
        CliApp.run(Clients)
    except ClassifierError as error:
        sys.exit(f"error: {error}")
    except (UsageError, SettingsError) as error:
        _usage(str(error).removeprefix("Error: "))
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][-1]).replace("_", "-")
        _usage(f"--{option}: {first['msg']}")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader has left; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _usage(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
