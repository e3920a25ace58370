"""The page of a server that asks who calls."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from serving.access.tokens import line, new_token
from tests.support.browser import Tab, tab
from tests.support.paths import SAMPLES
from tests.support.process import serve

ANN, EVE = new_token(), new_token()


@pytest.fixture(scope="module")
def origin(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server on which Ann may classify, and Eve may not."""
    file = tmp_path_factory.mktemp("tokens") / "tokens"
    file.touch(mode=0o600)
    file.write_text(f"{line('ann', ANN, 'classify')}\n{line('eve', EVE, 'read')}\n")
    quick = ("--instances", "1", "--buckets", "1")
    with serve(tiny, "--token-file", str(file), *quick) as running:
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
