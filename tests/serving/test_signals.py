import asyncio
import os
import signal

import pytest

from serving.lifecycle import background, stop_on_signals


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
async def test_the_first_signal_asks_and_handlers_are_restored(signum: signal.Signals) -> None:
    former = signal.getsignal(signum)
    with stop_on_signals() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), signum)
        async with asyncio.timeout(60):
            await stop.wait()
    assert signal.getsignal(signum) is former


async def test_what_goes_on_in_the_background_does_not_end_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def look() -> None:
        raise LookupError("no such file")

    async def wait() -> None:
        await asyncio.Event().wait()

    failing, cancelled = background(look()), background(wait())
    cancelled.cancel()
    await asyncio.wait([failing, cancelled])
    await asyncio.sleep(0)  # what is told comes in the loop's next turn
    [record] = caplog.records
    assert "look" in record.getMessage()
    assert "no such file" in caplog.text
