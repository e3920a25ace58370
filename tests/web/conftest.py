"""A browser for a file of tests of the page, and one server for all of a worker."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.support.browser import Tab, launch, tab
from tests.support.bundles import write_bundle
from tests.support.paths import SHIPPED
from tests.support.process import Server, serve

expect.set_options(timeout=15_000)
QUICK = ("--instances", "1", "--buckets", "1,2,4")


# Not for the session: as long as playwright is here, its event loop runs on this thread, and the
# tests of other folders could have none.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium."""
    with sync_playwright() as playwright, launch(playwright) as browser:
        yield browser


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small bundle; read-only."""
    return write_bundle(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def server(tiny: Path) -> Iterator[Server]:
    """A server of the shipped bundle and of a small one."""
    with serve(SHIPPED, "--model", str(tiny), *QUICK) as running:
        yield running


@pytest.fixture
def opened(chromium: Browser, server: Server) -> Iterator[Tab]:
    """A tab of the server's page, with nothing open yet."""
    with tab(chromium, server.http) as found:
        yield found
