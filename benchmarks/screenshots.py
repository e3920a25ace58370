"""`python -m benchmarks.screenshots`: pictures of each view of the server's page, under load."""

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

VIEWS = ("try", "watch", "models")
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SIZE: "ViewportSize" = {"width": 1280, "height": 800}
# Until the charts of Watch have something to show.
LOAD_S = 20.0


class Screenshots(Benchmark):
    """Start a server, look at its page in Chromium, and write `page-VIEW-SCHEME.png` for each."""

    model_config = configured("benchmarks.screenshots")

    model: Path = Field(Path("models/fashion_resnext/1"), description="bundle to serve")
    images: Path = Field(Path("examples/images"), description="folder of images for the load")
    shown: list[Path] = Field(
        [Path("examples/images") / f"{name}.png" for name in ("bag_30", "ankle_boot_0")],
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
                with self._opened(browser, server, scheme) as page, self._load(server):
                    for view in VIEWS:
                        self._look(page, view)
                        path = self.output / f"page-{view}-{scheme}.png"
                        page.screenshot(path=path)
                        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")

    @contextmanager
    def _opened(
        self, browser: "Browser", server: Server, scheme: Literal["light", "dark"]
    ) -> Iterator["Page"]:
        context = browser.new_context(viewport=SIZE, color_scheme=scheme, reduced_motion="reduce")
        page = context.new_page()
        page.goto(server.metrics.removesuffix("metrics"))
        yield page
        context.close()

    @contextmanager
    def _load(self, server: Server) -> Iterator[None]:
        """Have images classified meanwhile."""
        loading = threading.Thread(target=server.load, args=(str(self.images), LOAD_S))
        loading.start()
        yield
        loading.join()

    def _look(self, page: "Page", view: str) -> None:
        page.get_by_role("link", name=view.capitalize()).click()
        if view == "try":
            page.locator("#files").set_input_files(self.shown)
            page.locator(f".result:nth-child({len(self.shown)}):not([aria-busy])").wait_for()
            page.wait_for_load_state("networkidle")
        elif view == "watch":
            page.wait_for_timeout(1000 * LOAD_S / 2)


if __name__ == "__main__":
    start(Screenshots)
