"""What all views share: the tabs, the theme, the policy, and that everybody can use them."""

import re

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import Tab, tab
from tests.support.paths import SAMPLES
from tests.support.process import Server

VIEWS = ("try", "watch", "models")
PHONE = {"width": 320, "height": 640}


def fill(found: Tab, view: str) -> None:
    """Open a view, with all that may be in it."""
    found.open(view)
    if view == "try":
        page = found.page
        page.get_by_role("combobox", name="Compare with").select_option("tiny 1")
        page.locator("#files").set_input_files([SAMPLES / "bag_30.png", __file__])
        expect(page.get_by_role("article")).to_have_count(2)
        expect(page.locator("[aria-busy]")).to_have_count(0)
        page.get_by_text("Do the same in a terminal").first.click()
        found.forgive("status of 400")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_everybody_can_use_it(chromium: Browser, server: Server, view: str, scheme: str) -> None:
    with tab(chromium, server.http, color_scheme=scheme, reduced_motion="reduce") as found:
        fill(found, view)
        broken = Axe().run(found.page).response["violations"]
    serious = [rule for rule in broken if rule["impact"] in ("serious", "critical")]
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in serious] == []


@pytest.mark.parametrize("view", VIEWS)
def test_it_fits_a_phone(chromium: Browser, server: Server, view: str) -> None:
    with tab(chromium, server.http, viewport=PHONE) as found:
        fill(found, view)
        assert found.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_the_tabs_are_addresses(opened: Tab) -> None:
    opened.open("models")
    page = opened.page
    expect(page.get_by_role("region", name="Models")).to_be_visible()
    assert page.title() == "Models · resnext-serving"
    page.get_by_role("link", name="Watch").click()
    expect(page.get_by_role("region", name="Watch")).to_be_visible()
    expect(page.get_by_role("region", name="Models")).to_be_hidden()
    expect(page.get_by_role("link", name="Watch")).to_have_attribute("aria-current", "page")
    page.go_back()
    expect(page.get_by_role("region", name="Models")).to_be_visible()
    page.goto(f"{opened.origin}/#nothing-of-that-name")
    expect(page.get_by_role("region", name="Try")).to_be_visible()


def test_a_browser_may_keep_nothing(opened: Tab) -> None:
    refused = "{ get() { throw new DOMException('refused', 'SecurityError'); } }"
    opened.page.add_init_script(
        f"for (const store of ['localStorage', 'sessionStorage'])"
        f"  Object.defineProperty(window, store, {refused});"
    )
    opened.open("try")
    expect(opened.page.get_by_role("combobox", name="Model")).to_be_visible()
    opened.page.get_by_role("button", name="Theme: system").click()
    expect(opened.page.get_by_role("button", name="Theme: light")).to_be_visible()


def test_without_javascript_it_says_so(chromium: Browser, server: Server) -> None:
    with tab(chromium, server.http, java_script_enabled=False) as found:
        found.page.goto(found.origin)
        expect(found.page.get_by_text("This page needs JavaScript")).to_be_visible()
        expect(found.page.get_by_role("link", name="Watch")).to_be_hidden()


def test_it_works_below_a_prefix(opened: Tab) -> None:
    page = opened.page
    below = re.compile(f"^{opened.origin}/below/")
    page.route(below, lambda route: route.continue_(url=route.request.url.replace("/below/", "/")))
    outside: list[str] = []
    page.on("request", lambda found: below.match(found.url) or outside.append(found.url))
    page.goto(f"{opened.origin}/below/#models")
    expect(page.get_by_role("article")).to_have_count(2)
    page.get_by_role("link", name="Watch").click()
    expect(page.get_by_text("Live, once a second")).to_be_visible()
    assert outside == []


def test_bars_are_seen_in_the_users_colours_too(opened: Tab) -> None:
    opened.page.emulate_media(forced_colors="active")
    fill(opened, "try")
    bar = opened.page.locator(".bar-fill").first
    grounds = "(bar) => [bar, bar.parentNode].map((one) => getComputedStyle(one).backgroundColor)"
    own, around = bar.evaluate(grounds)
    assert own != around


def test_paper_gets_the_answers_only(opened: Tab) -> None:
    fill(opened, "try")
    opened.page.emulate_media(media="print", color_scheme="dark")
    opened.page.evaluate("document.documentElement.dataset.theme = 'dark'")
    expect(opened.page.locator(".bar-label").first).to_be_visible()
    expect(opened.page.get_by_role("button").locator("visible=true")).to_have_count(0)
    assert ground(opened.page) == "rgb(246, 247, 246)"


def ground(page: Page) -> str:
    colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return colour


def test_the_theme_is_the_systems_until_it_is_chosen(opened: Tab) -> None:
    page = opened.page
    page.emulate_media(color_scheme="dark")
    opened.open("try")
    dark = ground(page)
    page.emulate_media(color_scheme="light")
    light = ground(page)
    assert dark != light
    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    assert ground(page) == dark
    page.reload()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert ground(page) == dark


def test_no_code_comes_from_text(opened: Tab) -> None:
    policy = httpx.get(f"{opened.origin}/", trust_env=False).headers["content-security-policy"]
    stated = dict(part.split(" ", 1) for part in policy.split("; "))
    assert stated["default-src"] == stated["frame-ancestors"] == "'none'"
    assert stated["script-src"] == stated["style-src"] == "'self'"
    opened.open("try")
    opened.page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.append("window.broken = true");
          document.body.append(script);
        }"""
    )
    assert not opened.page.evaluate("window.broken")
    opened.forgive("requires 'TrustedScript'")


def test_other_hosts_are_out_of_reach(opened: Tab) -> None:
    opened.open("try")
    fetching = "fetch('http://127.0.0.1:9/').then(() => 'reached', () => 'refused')"
    assert opened.page.evaluate(fetching) == "refused"
    opened.forgive("Content Security Policy")
    opened.forgive("127.0.0.1:9")
