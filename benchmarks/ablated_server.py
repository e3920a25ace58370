"""`python -m benchmarks.ablated_server`: the server without some of its parts.

It takes the flags of `python -m serving`; ABLATED names what it goes without, separated by commas.
"""

import os
import sys
from collections.abc import Callable

from serving.__main__ import main


def without_forecast() -> None:
    """Refuse only for lack of room, or if a deadline has passed."""
    from serving.engine.forecast import Forecast

    Forecast.backlog = lambda *_: None  # type: ignore[method-assign]


def without_correction() -> None:
    """Never scale a predicted wait."""
    from serving.engine.latency import WaitCorrection

    WaitCorrection.factor = lambda *_: 1.0  # type: ignore[method-assign]


ABLATIONS: dict[str, Callable[[], None]] = {
    "forecast": without_forecast,
    "correction": without_correction,
}


if __name__ == "__main__":
    # As `serving` does, before gRPC is imported.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
    for name in filter(None, os.environ.get("ABLATED", "").split(",")):
        ABLATIONS[name]()
    sys.exit(main())
