"""The view Watch: what the server does, while somebody looks."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import Tab, tab
from tests.support.paths import SAMPLES
from tests.support.process import Server, metric

BAG = SAMPLES / "bag_30.png"
NONE = "\N{EN DASH}"


@pytest.fixture
def load(server: Server) -> Iterator[None]:
    """Images that come one after another, and now and then one that is none."""
    done, files = threading.Event(), [BAG.read_bytes(), BAG.read_bytes(), b"no image"]

    def send() -> None:
        asked = f"{server.http}/v1/classify?model=fashion_resnext"
        with httpx.Client(trust_env=False) as client:
            while not done.is_set():
                for file in files:
                    client.post(asked, content=file)

    thread = threading.Thread(target=send)
    thread.start()
    yield
    done.set()
    thread.join()


@pytest.fixture
def page(opened: Tab) -> Page:
    """The view, of the model that is asked."""
    opened.open("watch")
    watch(opened.page)
    return opened.page


def watch(page: Page) -> None:
    page.get_by_role("combobox", name="Model").select_option("fashion_resnext 1")


def wait_for_load(page: Page) -> None:
    """Wait until images are answered; those of the second before may be fewer."""
    answered = page.locator(".tile").filter(has_text="Answered").locator("dd .number")
    expect(answered).not_to_have_text("0")
    expect(answered).not_to_have_text(NONE)


@pytest.mark.usefixtures("load")
def test_the_numbers_and_charts_move_under_load(page: Page) -> None:
    wait_for_load(page)
    images = page.get_by_role("figure", name="Images")
    expect(images.get_by_role("listitem").first).not_to_have_text("answered0")
    expect(images.get_by_role("listitem").nth(3)).not_to_have_text("other failures0")
    stages = page.get_by_role("figure", name="Half are faster: p50").get_by_role("listitem")
    expect(stages).to_have_count(4)
    expect(stages.last).not_to_have_text(f"total{NONE}")
    free = page.get_by_role("figure", name="Why batches started").get_by_role("listitem").nth(1)
    expect(free).not_to_have_text("a device was free0")
    sizes = page.get_by_role("region", name="Batch sizes").get_by_role("row")
    expect(sizes.nth(1)).to_contain_text("1")
    devices = page.get_by_role("region", name="Devices")
    expect(devices.get_by_role("row", name="cpu#0")).to_contain_text("answers")


@pytest.mark.usefixtures("load")
def test_the_lines_are_drawn(page: Page) -> None:
    wait_for_load(page)
    canvas = page.get_by_role("figure", name="Images").locator("canvas")
    drawn = """(canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return data.filter((value, at) => at % 4 === 3 && value > 0).length;
    }"""
    before = canvas.evaluate(drawn)
    assert before > 0
    since = page.locator(".live")
    expect(since).to_contain_text("Watched since")
    colour = page.locator(".series-1").first.evaluate("(line) => getComputedStyle(line).stroke")
    page.emulate_media(color_scheme="dark")
    dark = page.locator(".series-1").first.evaluate("(line) => getComputedStyle(line).stroke")
    assert colour != dark
    assert canvas.evaluate(drawn) > 0


def test_two_viewers_share_a_sampler_that_stops_without_them(
    chromium: Browser, server: Server, page: Page
) -> None:
    with tab(chromium, server.http) as other:
        other.open("watch")
        expect(page.locator(".live")).to_contain_text("2 viewers look.")
        expect(other.page.locator(".live")).to_contain_text("2 viewers look.")
        assert metric(server, "serving_watch_viewers") == 2
    expect(page.locator(".live")).to_contain_text("You are the only viewer.")
    page.get_by_role("link", name="Try").click()
    expect(page.get_by_role("region", name="Try")).to_be_visible()
    until_nobody_watches(server)
    page.get_by_role("link", name="Watch").click()
    expect(page.locator(".live.on")).to_contain_text("Live, once a second")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".live")).to_have_text("Paused: nothing is asked of the server.")
    until_nobody_watches(server)
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(".live.on")).to_contain_text("You are the only viewer.")


def until_nobody_watches(server: Server) -> None:
    while metric(server, "serving_watch_viewers"):  # a test that hangs here has a limit
        pass


def test_it_says_why_nothing_comes(chromium: Browser, server: Server) -> None:
    with tab(chromium, server.http) as found:
        words = '{"error": "the server is draining; try another"}'
        found.page.route("**/v1/watch", lambda route: route.fulfill(status=503, body=words))
        found.page.goto(f"{server.http}/#watch")
        fault = found.page.get_by_role("alert").filter(has_text="the server is draining")
        expect(fault).to_be_visible()
        found.page.unroute("**/v1/watch")
        expect(fault).to_be_hidden()
        expect(found.page.locator(".live.on")).to_be_visible()
        found.forgive("status of 503")


def test_the_first_second_has_its_place_on_the_axis(opened: Tab) -> None:
    page = opened.page
    page.add_init_script(
        """window.drawn = [];
        const { fillText } = CanvasRenderingContext2D.prototype;
        CanvasRenderingContext2D.prototype.fillText = function (text, ...where) {
          drawn.push(text);
          fillText.call(this, text, ...where);
        };"""
    )
    taken = sample(opened.origin)
    show(opened, taken)
    seconds = (taken["time_s"], taken["time_s"] - 60)
    minutes = {time.strftime("%H:%M", time.localtime(one)) for one in seconds}
    assert {text[:5] for text in page.evaluate("drawn") if ":" in text} <= minutes


def test_a_long_name_fits(opened: Tab) -> None:
    taken = sample(opened.origin)
    taken["models"][0]["name"] = "n" * 250
    show(opened, taken)
    expect(opened.page.get_by_role("combobox", name="Model")).to_be_visible()
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def sample(origin: str) -> dict[str, Any]:
    """Return what the server tells first."""
    with httpx.stream("GET", f"{origin}/v1/watch", trust_env=False) as response:
        event = next(line for line in response.iter_lines() if line)
    found: dict[str, Any] = json.loads(event.removeprefix("data: "))
    return found


def show(opened: Tab, taken: dict[str, Any]) -> None:
    """Open the view with this as all that comes."""
    event = f"data: {json.dumps(taken)}\n\n"
    opened.page.route("**/v1/watch", lambda route: route.fulfill(body=event))
    opened.page.goto(f"{opened.origin}/#watch")
    expect(opened.page.get_by_text("the server has ended the stream")).to_be_visible()
