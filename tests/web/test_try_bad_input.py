"""The view Try with files, labels and answers that are not as they should be."""

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.browser import Tab
from tests.support.process import Server
from tests.web.cards import BAG, COAT, box, card, choose, labels


@pytest.fixture
def page(opened: Tab) -> Page:
    """The view, with the models listed."""
    opened.open("try")
    return opened.page


def test_a_broken_file_gets_the_words_of_the_server(
    opened: Tab, page: Page, server: Server, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(BAG.read_bytes()[:200])
    choose(page, broken, COAT)
    asked = f"{server.http}/v1/classify?model=fashion_resnext"
    words = httpx.post(asked, content=broken.read_bytes(), trust_env=False).json()["error"]
    expect(card(page, "broken.png").get_by_text(words)).to_be_visible()
    expect(card(page, "coat_6.png").locator(".bar-label").first).to_have_text("Coat")
    opened.forgive("status of 400")


def test_a_file_that_is_lost_or_empty_is_said_to_be(
    opened: Tab, page: Page, tmp_path: Path
) -> None:
    lost, empty = tmp_path / "lost.png", tmp_path / "empty.png"
    lost.write_bytes(BAG.read_bytes())
    empty.touch()
    choose(page, lost, empty)
    expect(card(page, "empty.png").locator(".fault")).to_have_text(
        "Not classified: the file is empty"
    )
    assert labels(card(page, "lost.png"))
    lost.unlink()
    page.get_by_role("button", name="Run again: lost.png").click()
    expect(card(page, "lost.png").locator(".fault")).to_contain_text("the file cannot be read")
    opened.forgive("net::ERR_FILE_NOT_FOUND")


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (502, "<h1>Bad Gateway</h1>", "the server, or what stands before it, answers with 502"),
        (502, '{"error": {"code": 7}}', "the server, or what stands before it, answers with 502"),
        (200, '{"results": [{"cla', "is not this server"),
    ],
)
def test_what_is_no_answer_of_the_server_is_said_to_be_none(
    opened: Tab, page: Page, status: int, body: str, words: str
) -> None:
    page.route("**/v1/classify?**", lambda route: route.fulfill(status=status, body=body))
    choose(page, BAG)
    expect(card(page, "bag_30.png").locator(".fault")).to_contain_text(words)
    if status >= 400:
        opened.forgive(f"status of {status}")


def test_what_is_dropped_or_pasted_and_is_no_file(page: Page) -> None:
    for kind, what in (("drop", "DragEvent"), ("paste", "ClipboardEvent")):
        page.evaluate(
            """([kind, what]) => {
              const data = new DataTransfer();
              data.setData("text/plain", "https://example.org/cat.jpg");
              const about = { bubbles: true, dataTransfer: data, clipboardData: data };
              document.body.dispatchEvent(new window[what](kind, about));
            }""",
            [kind, what],
        )
        expect(page.get_by_role("alert").filter(has_text=f"What was {kind}")).to_be_visible()
    choose(page, BAG)
    expect(page.get_by_role("alert").locator("visible=true")).to_have_count(0)


def test_models_come_and_go(opened: Tab, server: Server) -> None:
    page = opened.page
    [fashion, tiny] = httpx.get(f"{server.http}/v1/models", trust_env=False).json()["models"]

    def loaded(*models: object) -> None:
        page.unroute("**/v1/models")
        page.route("**/v1/models", lambda route: route.fulfill(json={"models": models}))

    loaded()
    opened.open("try")
    choose(page, BAG)
    expect(page.get_by_text("No model is loaded")).to_be_visible()
    expect(card(page, "bag_30.png")).to_contain_text("No answer yet.")
    loaded(fashion, tiny)
    expect(card(page, "bag_30.png").locator(".bar-label").first).to_have_text("Bag")
    loaded(tiny)
    expect(box(page, "Model").locator("option")).to_have_text(["tiny 1"])
    expect(card(page, "bag_30.png").locator(".bar-label")).to_have_count(5)
    assert "Bag" not in labels(card(page, "bag_30.png"))


def test_labels_of_strangers_leave_the_page_alone(opened: Tab) -> None:
    page = opened.page
    markup, long = "<img src=x onerror=alert(1)>", "x" * 5000
    override = "\N{RIGHT-TO-LEFT OVERRIDE}bag"
    classes = [{"label": label, "probability": 0.3} for label in (override, long, markup)]

    def models(route: Route) -> None:
        found = route.fetch().json()
        found["models"][0]["labels"] = [markup, override, long]
        route.fulfill(json=found)

    def classified(route: Route) -> None:
        found = route.fetch().json()
        found["results"][0]["classes"] = classes
        route.fulfill(json=found)

    page.route("**/v1/models", models)
    page.route("**/v1/classify?model=fashion_resnext**", classified)
    opened.open("try")
    choose(page, BAG)
    found = card(page, "bag_30.png")
    cut = f"{long[:160]}\N{HORIZONTAL ELLIPSIS}"
    expect(found.locator(".bar-label")).to_have_text([override, cut, markup])
    expect(found.get_by_title(long)).to_have_text(cut)
    assert page.locator(".choices .hint bdi").all_inner_texts() == [markup, override, cut]
    box(page, "Compare with").select_option("tiny 1")
    # The label does not turn round what stands after it.
    verdict = card(page, "bag_30.png").locator(".verdict")
    expect(verdict).to_contain_text("They differ")
    left = """(verdict) => [...verdict.childNodes].map((node) => {
      const range = document.createRange();
      range.selectNodeContents(node);
      return range.getBoundingClientRect().left;
    })"""
    lefts = verdict.evaluate(left)
    assert lefts == sorted(lefts)


def test_images_are_forgotten_when_they_are_not_shown(opened: Tab) -> None:
    page = opened.page
    page.add_init_script(
        """window.held = new Set();
        const { createObjectURL, revokeObjectURL } = URL;
        URL.createObjectURL = (blob) => {
          const url = createObjectURL(blob);
          held.add(url);
          return url;
        };
        URL.revokeObjectURL = (url) => held.delete(url) && revokeObjectURL(url);"""
    )
    opened.open("try")
    choose(page, BAG, Path(__file__))
    for _ in range(2):
        assert labels(card(page, "bag_30.png"))
        page.get_by_role("button", name="Run again: bag_30.png").click()
    assert labels(card(page, "bag_30.png"))
    expect(page.get_by_text("no image", exact=True)).to_be_visible()
    assert page.evaluate("held.size") == 2  # it, and what the network saw of it
    page.get_by_role("button", name="Remove all").click()
    assert page.evaluate("held.size") == 0
    opened.forgive("status of 400")


def test_the_name_of_a_file_is_no_markup(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "<img src=x onerror=alert(1)>.png"
    file.write_bytes(BAG.read_bytes())
    choose(page, file)
    expect(page.get_by_role("heading", name=file.name)).to_be_visible()
