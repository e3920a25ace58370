"""When the repository is looked at: on SIGHUP, and with `--model-control poll` at intervals."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from serving.config import ServingConfig
from serving.errors import ProcessLostError
from serving.repository.control import Control

logger = logging.getLogger(__name__)


@asynccontextmanager
async def hanging_up(config: ServingConfig) -> AsyncIterator[asyncio.Event]:
    """Yield an event that SIGHUP sets, which ends the process if there is no repository.

    The former handler is restored at the end.
    """
    event = asyncio.Event()
    if not config.repository:
        yield event
        return
    former = signal.getsignal(signal.SIGHUP)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, event.set)
    try:
        yield event
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, former)


async def watch(control: Control, config: ServingConfig, asked: asyncio.Event) -> None:
    """Look at the repository whenever it is time, or somebody has asked; never return.

    An operator who asks wants to know: what has failed before is tried again.
    """
    interval_s = config.repository_poll_s if config.model_control == "poll" else None
    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(asked.wait(), interval_s)
        is_asked = asked.is_set()
        asked.clear()
        try:
            if config.model_control == "explicit":
                logger.info("SIGHUP: looking at labels; only calls load and unload")
                await control.relabel()
                continue
            if is_asked:
                logger.info("SIGHUP: looking at %s", config.repository)
            await control.rescan(again=is_asked)
        except ProcessLostError:
            return  # the process ends
        except Exception:
            logger.exception("%s could not be looked at", config.repository)
