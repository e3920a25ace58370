"""The view Models: what there is, what proves it, and what whoever may can change."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.support.browser import Tab, tab
from tests.support.bundles import OTHER_WEIGHTS, spoil, write_bundle
from tests.support.paths import SHIPPED
from tests.support.process import Server, serve_repository

QUICK = ("--instances", "1", "--buckets", "1,2", "--version-policy", "all")
EXPLICIT = ("--model-control", "explicit", "--load-model", "*")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository: of one name two versions that serve, and one that does not prove itself."""
    root = tmp_path_factory.mktemp("repository")
    write_bundle(root, version="1")
    write_bundle(root, version="2", weights=OTHER_WEIGHTS)
    spoil(write_bundle(root, version="3"))
    shutil.copytree(SHIPPED, root / "fashion_resnext" / "1")
    return root


@pytest.fixture(scope="module")
def changing(root: Path) -> Iterator[Server]:
    """A server of it that everybody may change."""
    with serve_repository(root, *QUICK, *EXPLICIT) as running:
        yield running


@pytest.fixture
def page(chromium: Browser, changing: Server) -> Iterator[Page]:
    """The view."""
    with tab(chromium, changing.http) as found:
        found.open("models")
        yield found.page


def card(page: Page, name: str) -> Locator:
    return page.get_by_role("article", name=name)


def test_every_version_has_its_state_and_its_reason(page: Page) -> None:
    names = [article.get_attribute("aria-label") for article in page.get_by_role("article").all()]
    assert names == ["fashion_resnext 1", "tiny 3", "tiny 2", "tiny 1"]
    expect(card(page, "tiny 2").locator(".badge")).to_have_text("ready")
    failed = card(page, "tiny 3")
    expect(failed.locator(".badge")).to_have_text("failed")
    expect(failed.locator(".reason")).to_contain_text("golden image golden/ant_0.png differ by")
    facts = card(page, "fashion_resnext 1").locator(".facts")
    for fact in ("onnxruntime, cpu", "fp32", "resnext14_8x4d, 28", "93.26 % top-1", "sha256:"):
        expect(facts).to_contain_text(fact)


def test_the_proof_is_done_here_and_now(page: Page) -> None:
    found = card(page, "fashion_resnext 1")
    found.get_by_text("The proof").click()
    images = found.get_by_role("figure")
    expect(images).to_have_count(10)
    expect(found.get_by_role("img")).to_have_count(10)
    expect(images.first).to_contain_text("T-shirt/top 86.51 %")
    expect(images.first).to_contain_text("not asked yet")
    found.get_by_role("button", name="Ask them now").click()
    expect(found.locator(".verdict")).to_contain_text("Proved: within")
    expect(found.locator("figure [data-state=ready]")).to_have_count(10)
    parity = found.get_by_role("region", name="Parity").get_by_role("row")
    expect(parity).to_have_count(5)
    expect(parity.nth(3)).to_contain_text("99.75 %")
    classes = found.get_by_role("region", name="Accuracy per class").get_by_role("row")
    expect(classes.nth(1)).to_contain_text("Shirt")
    expect(classes.nth(1)).to_contain_text("76.4 %")


def test_answers_that_differ_are_no_proof(page: Page) -> None:
    found = card(page, "tiny 1")
    found.get_by_text("The proof").click()
    expect(found.get_by_role("img")).to_have_count(3)

    def other(route: object) -> None:  # what another model would answer
        route.continue_(url=route.request.url.replace("version=1", "version=2"))  # type: ignore[attr-defined]

    page.route("**/v1/classify?**", other)
    found.get_by_role("button", name="Ask them now").click()
    expect(found.locator(".verdict")).to_contain_text("Not proved")
    expect(found.locator("figure [data-state=failed]")).to_have_count(3)
    expect(found.get_by_text("✗ differs by").first).to_be_visible()


def test_it_unloads_and_loads(page: Page) -> None:
    found = card(page, "tiny 1")
    found.get_by_role("button", name="Unload tiny 1").click()
    expect(found.locator(".badge")).to_have_text("not loaded")
    expect(found.locator(".facts")).to_be_hidden()
    found.get_by_role("button", name="Load tiny 1").click()
    expect(found.locator(".badge")).to_have_text("ready")
    expect(page.get_by_role("status")).to_have_text("tiny 1 is loaded")


def test_the_keyboard_stays_where_it_was(page: Page) -> None:
    found = card(page, "tiny 1")
    for verb, other in (("Unload", "Load"), ("Load", "Unload")):
        found.get_by_role("button", name=f"{verb} tiny 1", exact=True).press("Enter")
        expect(found.get_by_role("button", name=f"{other} tiny 1", exact=True)).to_be_visible()
        assert found.evaluate("(card) => card.contains(document.activeElement)")


def test_accuracy_that_nobody_knows_is_called_so(page: Page) -> None:
    """As of a bundle that was exported with photos without classes."""

    def proof(route: Route) -> None:
        answer = route.fetch().json()
        unknown = {"checkpoint": None, "class_images": None}
        files = [file | {"scores": None} for file in answer["parity"]["files"]]
        route.fulfill(json=answer | {"parity": answer["parity"] | unknown | {"files": files}})

    page.route("**/proof", proof)
    found = card(page, "fashion_resnext 1")
    found.get_by_text("The proof").click()
    rows = found.get_by_role("region", name="Parity").get_by_role("row")
    expect(rows).to_have_count(5)
    for number in range(1, 5):
        expect(rows.nth(number).get_by_role("cell").last).to_have_text("not known")
    expect(found.get_by_role("region", name="Accuracy per class")).to_have_count(0)
    expect(card(page, "tiny 1").locator(".facts")).to_contain_text("not known")


@pytest.mark.parametrize(
    "parity", ["[]", '{"files": 3}', '{"files": [{"largest_difference": null}]}', '"x"']
)
def test_a_bundle_may_hold_any_parity(page: Page, parity: str) -> None:
    def proof(route: Route) -> None:
        route.fulfill(json=route.fetch().json() | {"parity": json.loads(parity)})

    page.route("**/proof", proof)
    found = card(page, "tiny 2")
    found.get_by_text("The proof").click()
    expect(found.get_by_text("parity.json is not one that the export wrote")).to_be_visible()
    expect(found.get_by_role("button", name="Ask them now")).to_be_visible()


def test_long_names_fit(page: Page) -> None:
    def board(route: Route) -> None:
        entry = {"name": "n" * 250, "version": "1" * 250, "state": "failed", "reason": "r" * 2000}
        route.fulfill(json={"versions": [entry], "may_load": True, "may_label": True})

    page.route("**/v1/versions", board)
    expect(page.get_by_role("article")).to_have_count(1)
    width = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert width <= 0


def test_what_cannot_be_loaded_says_why(chromium: Browser, changing: Server) -> None:
    with tab(chromium, changing.http) as found:
        found.open("models")
        failed = card(found.page, "tiny 3")
        failed.get_by_role("button", name="Load tiny 3").click()
        expect(failed.get_by_role("alert")).to_contain_text("tiny/3 is not loaded: ")
        found.forgive("status of 409")


def test_labels_are_given_and_removed(page: Page) -> None:
    one, two = card(page, "tiny 1"), card(page, "tiny 2")
    give(one, "stable")
    expect(one.locator(".chip")).to_contain_text("stable")
    give(two, "canary", share="12.5")
    expect(two.locator(".chip")).to_contain_text("canary 12.5 %")
    give(two, "stable")
    expect(two.locator(".chip")).to_have_count(2)
    expect(one.locator(".chip")).to_have_count(0)
    for label in ("stable", "canary"):
        two.get_by_role("button", name=f"Remove the label {label} from tiny 2").click()
        expect(two.locator(".chip").filter(has_text=label)).to_have_count(0)


def give(found: Locator, label: str, share: str = "") -> None:
    box = found.get_by_role("combobox", name="Label")
    if not box.is_visible():
        found.get_by_text("Give it a label").click()
    box.fill(label)
    if share:
        found.get_by_label("Share of requests, %").fill(share)
    found.get_by_role("button", name="Give the label").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_all_of_it(chromium: Browser, changing: Server, scheme: str) -> None:
    with tab(chromium, changing.http, color_scheme=scheme, reduced_motion="reduce") as found:
        found.open("models")
        shown = card(found.page, "fashion_resnext 1")
        shown.get_by_text("The proof").click()
        shown.get_by_text("Give it a label").click()
        expect(shown.get_by_role("img")).to_have_count(10)
        shown.get_by_role("button", name="Ask them now").click()
        expect(shown.locator(".verdict")).to_contain_text("Proved")
        broken = Axe().run(found.page).response["violations"]
    serious = [rule for rule in broken if rule["impact"] in ("serious", "critical")]
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in serious] == []


def test_the_proof_fits_a_phone(chromium: Browser, changing: Server) -> None:
    with tab(chromium, changing.http, viewport={"width": 320, "height": 640}) as found:
        found.open("models")
        card(found.page, "fashion_resnext 1").get_by_text("The proof").click()
        expect(found.page.get_by_role("img")).to_have_count(10)
        assert found.page.evaluate("document.documentElement.scrollWidth") == 320


def test_who_may_not_gets_no_buttons(opened: Tab) -> None:
    """The server of the other views has no repository."""
    opened.open("models")
    expect(card(opened.page, "tiny 1").locator(".badge")).to_have_text("ready")
    expect(opened.page.get_by_text("You may look here, and change nothing")).to_be_visible()
    expect(opened.page.get_by_role("button", name="Unload")).to_have_count(0)
    expect(opened.page.get_by_text("Give it a label").locator("visible=true")).to_have_count(0)
