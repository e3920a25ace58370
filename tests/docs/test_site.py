"""The site that `make docs` builds: whole, no dead link, no request to another host."""

import subprocess
from collections import defaultdict
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import expect, sync_playwright

import clients
from protos import classifier_pb2, open_inference_pb2
from tests.support.browser import launch, tab
from tests.support.paths import ROOT

SPHINX = ROOT / ".venv-docs/bin/sphinx-build"

pytestmark = pytest.mark.slow


class Links(HTMLParser):
    """What a page names: its anchors, its links, and what a browser loads for it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                (self.links if tag == "a" else self.loaded).add(value)


def build(source: Path, to: Path) -> "subprocess.CompletedProcess[str]":
    options = ["--fail-on-warning", "--keep-going", "--doctree-dir", to / "doctrees"]
    command = [SPHINX, *options, "--conf-dir", ROOT / "docs/site", source, to / "site"]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    return {page: Links(page) for page in site.rglob("*.html")}


def dead(pages: dict[Path, Links]) -> Iterator[str]:
    for page, found in pages.items():
        for link in found.links | found.loaded:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchors = pages[target].anchors if target in pages else set()
            if not target.exists() or (target in pages and parts.fragment not in anchors | {""}):
                yield f"{page.name}: {link}"


def test_no_link_is_dead(pages: dict[Path, Links]) -> None:
    assert len(pages) > 15
    assert list(dead(pages)) == []


@pytest.mark.parametrize("link", ["no_such_page.html", "#no-such-heading", "page.html#neither"])
def test_a_dead_link_is_found(link: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(f'<h1 id="heading"></h1><a href="{link}"></a><a href="#heading"></a>')
    assert list(dead({page: Links(page)})) == [f"page.html: {link}"]


def test_a_dead_link_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Here\n\n[there](no/such/page.md)\n")
    done = build(tmp_path, tmp_path)
    assert done.returncode != 0
    assert "no/such/page.md" in done.stderr


def test_a_browser_loads_nothing_from_elsewhere(pages: dict[Path, Links]) -> None:
    elsewhere = defaultdict(set)
    for page, found in pages.items():
        for loaded in found.loaded:
            if urlsplit(loaded).netloc:
                elsewhere[loaded].add(page.name)
    assert elsewhere == {}


def test_the_search_finds_without_a_server(site: Path) -> None:
    with (
        sync_playwright() as playwright,
        launch(playwright) as browser,
        tab(browser, site.as_uri()) as found,
    ):
        found.page.goto(f"{site.as_uri()}/index.html")
        found.page.get_by_placeholder("Search").fill("canary")
        found.page.keyboard.press("Enter")
        results = found.page.locator("#search-results")
        expect(results).to_contain_text("Search finished", timeout=60_000)
        expect(results.get_by_role("link", name="Labels, canary, shadow")).to_be_visible()


def test_every_public_name_of_the_client_is_described(pages: dict[Path, Links]) -> None:
    [anchors] = [found.anchors for page, found in pages.items() if page.name == "python.html"]
    assert {anchor.rpartition(".")[2] for anchor in anchors} >= set(clients.__all__)


@pytest.mark.parametrize("proto", [classifier_pb2, open_inference_pb2])
def test_every_message_is_described(proto: object, pages: dict[Path, Links]) -> None:
    descriptor = proto.DESCRIPTOR
    name = Path(descriptor.name).stem
    [anchors] = [found.anchors for page, found in pages.items() if page.name == f"{name}.html"]
    described = [*descriptor.services_by_name, *descriptor.message_types_by_name]
    assert anchors >= {name.lower() for name in described}
