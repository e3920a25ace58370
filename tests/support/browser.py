"""A browser, and tabs of it in which nothing may go wrong unseen."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Browser, Page, Playwright, expect

from tests.support.paths import CHROMIUM

QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
# Tests run as root where CI does, and a page may have a camera that shows a pattern.
FLAGS = [
    *QUIET,
    "--no-first-run",
    "--no-sandbox",
    "--disable-gpu",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


def launch(playwright: Playwright) -> Browser:
    """Start Debian's Chromium."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


@dataclass
class Tab:
    """A tab of the page at `origin`, which ends without a slash.

    Nothing that waits in the page may be a string of JavaScript (`wait_for_function`): its policy
    forbids to make code from text. `expect` of playwright waits outside.
    """

    page: Page
    origin: str
    faults: list[str] = field(default_factory=list)

    def open(self, view: str) -> None:
        """Open a view, and wait until everything that it asks for has come."""
        self.page.goto(f"{self.origin}/#{view}")
        if view == "watch":  # its stream never ends
            expect(self.page.get_by_text("Live, once a second")).to_be_visible()
        else:
            self.page.wait_for_load_state("networkidle")

    def forgive(self, part: str) -> None:
        """Forget the faults that this test has provoked, of which there must be one or more."""
        provoked = [fault for fault in self.faults if part in fault]
        assert provoked, f"nothing with {part!r} in {self.faults}"
        self.faults[:] = [fault for fault in self.faults if fault not in provoked]


@contextmanager
def tab(browser: Browser, origin: str, **context: object) -> Iterator[Tab]:
    """Open a tab with nothing stored.

    At the end there must have been no error on its console, and no request to another host.
    """
    opened = browser.new_context(**{"locale": "en-GB", **context})  # type: ignore[arg-type]
    opened.set_default_timeout(15_000)
    page = opened.new_page()
    found = Tab(page, origin)
    page.on("console", lambda message: _note(found, message.type, message.text))
    page.on("pageerror", lambda error: found.faults.append(str(error)))
    opened.on("request", lambda request: _check(found, request.url))
    try:
        yield found
    finally:
        opened.close()
    assert not found.faults, found.faults


def _note(found: Tab, kind: str, text: str) -> None:
    if kind in ("error", "warning"):
        found.faults.append(text)


def _check(found: Tab, url: str) -> None:
    if not url.startswith((f"{found.origin}/", f"blob:{found.origin}/")):
        found.faults.append(f"a request to another host: {url}")
