"""`python -m benchmarks.screenshots`: pictures of each view of the server's page, under load.

What is shown goes into the repository: of the demo's photos, `shown` and those of its golden images
are in the public domain.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from benchmarks.command import Benchmark, configured, start
from benchmarks.server import Server, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, ViewportSize

DEMO = Path("build/demo")
VIEWS = ("try", "watch", "models")
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SIZE: "ViewportSize" = {"width": 1280, "height": 960}
# The charts of Watch are looked at when so much of the load has passed.
LOAD_S, SHOWN_SHARE = 30.0, 0.9
# Until images are drawn and what moves has come to rest.
SETTLE_MS = 500


class Screenshots(Benchmark):
    """Start a server, look at its page in Chromium, and write `page-VIEW-SCHEME.png` for each."""

    model_config = configured("benchmarks.screenshots")

    model: Path = Field(DEMO / "efficientnet_lite0/1", description="bundle to serve")
    images: Path = Field(DEMO / "photos", description="folder of images for the load")
    shown: list[Path] = Field(
        [DEMO / "photos/coffee.png", DEMO / "photos/chelsea.png"],
        description="images to try, comma-separated",
    )
    chromium: Path = Field(Path("/usr/bin/chromium"), description="the browser")
    output: Path = Field(Path("docs"), description="folder to write to")

    def run(self) -> None:
        """Write the pictures."""
        from playwright.sync_api import sync_playwright

        flags = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        with serving(self.model) as server, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=self.chromium, args=flags)
            for scheme in SCHEMES:
                with self._opened(browser, server, scheme) as page:
                    for view in VIEWS:
                        page.get_by_role("link", name=view.capitalize()).click()
                        with self._filled(page, view, server):
                            path = self.output / f"page-{view}-{scheme}.png"
                            page.screenshot(path=path)
                        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")

    @contextmanager
    def _opened(
        self, browser: "Browser", server: Server, scheme: Literal["light", "dark"]
    ) -> Iterator["Page"]:
        context = browser.new_context(
            viewport=SIZE, color_scheme=scheme, reduced_motion="reduce", locale="en-GB"
        )
        page = context.new_page()
        page.goto(server.metrics.removesuffix("metrics"))
        yield page
        context.close()

    @contextmanager
    def _filled(self, page: "Page", view: str, server: Server) -> Iterator[None]:
        """Have something to look at in a view."""
        if view == "try":
            page.locator("#files").set_input_files(self.shown)
            page.locator(f".result:nth-child({len(self.shown)}):not([aria-busy])").wait_for()
            # The first time, the browser drew the images meanwhile.
            for again in page.get_by_role("button", name="Run again").all():
                again.click()
                page.locator(".results:not(:has([aria-busy]))").wait_for()
            page.mouse.move(0, 0)
        elif view == "models":
            page.get_by_text("The proof").first.click()
            # They can be asked as soon as their files have come.
            page.locator(".golden:not(:has(.no-look)) img").first.wait_for()
            page.get_by_role("button", name="Ask them now").first.click()
            page.locator(".verdict[data-state]").first.wait_for()
        loading = threading.Thread(target=self._load, args=(server,))
        if view == "watch":
            loading.start()
            page.wait_for_timeout(1000 * SHOWN_SHARE * LOAD_S)
        page.wait_for_timeout(SETTLE_MS)
        yield
        if view == "watch":
            loading.join()

    def _load(self, server: Server) -> None:
        server.load(str(self.images), LOAD_S, "--concurrency", "8")


if __name__ == "__main__":
    start(Screenshots)
