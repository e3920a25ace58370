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
# What a view shows once it knows something.
SHOWN = {"try": ".choices", "watch": ".live.on", "models": "article"}


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
    forgiven: list[str] = field(default_factory=list)

    def open(self, view: str) -> None:
        """Open a view, and wait until it shows something, says why it cannot, or asks."""
        self.page.goto(f"{self.origin}/#{view}")
        shown = f"#view-{view} :is({SHOWN[view]}, [role=alert]:not([hidden]))"
        found = self.page.locator(f"{shown}, dialog[open]").locator("visible=true")
        expect(found.first).to_be_visible()

    def forgive(self, part: str) -> None:
        """Expect faults that this test provokes, one or more until the tab closes.

        A fault may arrive after what the page shows of it: of several requests that are refused,
        the page shows the first.
        """
        self.forgiven.append(part)

    def check(self) -> None:
        """Raise AssertionError unless what went wrong is just what was to go wrong."""
        for part in self.forgiven:
            assert any(part in fault for fault in self.faults), f"no {part!r} in {self.faults}"
        wrong = [fault for fault in self.faults if not any(p in fault for p in self.forgiven)]
        assert not wrong, wrong


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
    found.check()


def _note(found: Tab, kind: str, text: str) -> None:
    if kind in ("error", "warning"):
        found.faults.append(text)


def _check(found: Tab, url: str) -> None:
    if not url.startswith((f"{found.origin}/", f"blob:{found.origin}/")):
        found.faults.append(f"a request to another host: {url}")
