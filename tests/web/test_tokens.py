"""The page of a server that asks who calls."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from serving.access.tokens import line, new_token
from tests.support.browser import Tab, tab
from tests.support.paths import SAMPLES
from tests.support.process import serve_repository

ANN, EVE = new_token(), new_token()


@pytest.fixture(scope="module")
def origin(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that can be changed, on which Ann may classify, and Eve may look only."""
    file = tmp_path_factory.mktemp("tokens") / "tokens"
    file.touch(mode=0o600)
    file.write_text(f"{line('ann', ANN, 'classify')}\n{line('eve', EVE, 'read')}\n")
    flags = ("--instances", "1", "--buckets", "1", "--token-file", str(file))
    explicit = ("--model-control", "explicit", "--load-model", "*")
    with serve_repository(tiny.parents[1], *flags, *explicit) as running:
        yield running.http


@pytest.fixture
def asked(chromium: Browser, origin: str) -> Iterator[Tab]:
    """A tab that asks for a token."""
    with tab(chromium, origin) as found:
        found.open("try")
        expect(found.page.get_by_role("dialog")).to_be_visible()
        yield found
        found.forgive("status of 401")


def answer(found: Tab, token: str) -> None:
    found.page.get_by_label("Token").fill(token)
    found.page.get_by_role("button", name="Continue").click()


def test_it_asks_for_a_token_once_and_again_if_it_is_wrong(asked: Tab) -> None:
    page = asked.page
    expect(page.get_by_role("alert").filter(has_text="the server asks who calls")).to_be_visible()
    answer(asked, "wrong")
    why = page.get_by_role("alert").filter(has_text="the server does not know this token")
    expect(why).to_be_visible()
    answer(asked, ANN)
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.locator("#files").set_input_files(SAMPLES / "bag_30.png")
    found = page.get_by_role("article", name="bag_30.png")
    expect(found.locator(".bar-label")).to_have_count(5)
    found.get_by_text("Do the same in a terminal").click()
    expect(found.get_by_label("curl line", exact=True)).to_contain_text("Bearer $TOKEN")
    assert ANN not in page.content()
    page.reload()
    expect(page.get_by_role("combobox", name="Model")).to_be_visible()
    page.get_by_role("button", name="Forget token").click()
    expect(page.get_by_role("dialog")).to_be_visible()


def test_what_cannot_be_a_token_is_not_sent(asked: Tab) -> None:
    answer(asked, f"{ANN}\N{BUG}")
    expect(asked.page.locator("#token:invalid")).to_be_focused()
    answer(asked, f" {ANN}\t")
    expect(asked.page.get_by_role("combobox", name="Model")).to_be_visible()


def test_it_says_what_a_caller_may_not(asked: Tab) -> None:
    page = asked.page
    answer(asked, EVE)
    page.locator("#files").set_input_files(SAMPLES / "bag_30.png")
    found = page.get_by_role("article", name="bag_30.png")
    expect(found).to_contain_text("this needs the role classify or admin, and eve has read")
    asked.forgive("status of 403")


def test_it_goes_on_without_a_token_if_nobody_has_one(asked: Tab) -> None:
    asked.page.keyboard.press("Escape")
    fault = asked.page.get_by_role("alert").filter(has_text="The models cannot be listed")
    expect(fault).to_contain_text("send the header")
    asked.page.get_by_role("button", name="Give a token").click()
    expect(asked.page.get_by_role("dialog")).to_be_visible()


def test_who_declines_is_not_asked_for_each_image(asked: Tab, tmp_path: Path) -> None:
    page = asked.page
    answer(asked, ANN)
    refused = {"error": "the token has expired"}
    page.route("**/v1/classify?**", lambda route: route.fulfill(status=401, json=refused))
    files = [shutil.copy(SAMPLES / "bag_30.png", tmp_path / f"{at}.png") for at in range(6)]
    page.locator("#files").set_input_files(files)  # more than are in flight at once
    expect(page.get_by_role("alert").filter(has_text="the token has expired")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".answer").filter(has_text="the token has expired")).to_have_count(6)
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_a_reader_gets_no_buttons(chromium: Browser, origin: str) -> None:
    with tab(chromium, origin) as found:
        found.open("models")
        answer(found, EVE)
        shown = found.page.get_by_role("article", name="tiny 1")
        expect(shown.locator(".badge")).to_have_text("ready")
        expect(found.page.get_by_role("button", name="Unload")).to_have_count(0)
        shown.get_by_text("The proof").click()
        expect(shown.get_by_role("img")).to_have_count(3)
        shown.get_by_role("button", name="Ask them now").click()
        expect(shown.locator(".verdict")).to_contain_text("needs the role classify or admin")
        found.forgive("status of 401")
        found.forgive("status of 403")


def test_who_may_only_classify_cannot_watch(chromium: Browser, origin: str) -> None:
    with tab(chromium, origin) as found:
        found.open("watch")
        answer(found, ANN)
        fault = found.page.get_by_role("alert").filter(has_text="needs the role read or admin")
        expect(fault).to_be_visible()
        expect(found.page.get_by_role("button", name="Go on")).to_be_visible()
        found.forgive("status of 401")
        found.forgive("status of 403")
