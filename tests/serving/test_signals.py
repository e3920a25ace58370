import asyncio
import os
import signal

import pytest

from serving.lifecycle import stop_on_signals


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
async def test_the_first_signal_asks_and_handlers_are_restored(signum: signal.Signals) -> None:
    former = signal.getsignal(signum)
    with stop_on_signals() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), signum)
        async with asyncio.timeout(60):
            await stop.wait()
    assert signal.getsignal(signum) is former
