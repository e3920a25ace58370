"""The view Try, as tests use it."""

from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.support.paths import SAMPLES

BAG, COAT, SHOE = (SAMPLES / name for name in ("bag_30.png", "coat_6.png", "ankle_boot_0.png"))


def box(page: Page, name: str) -> Locator:
    """A box to choose from."""
    return page.get_by_role("combobox", name=name)


def choose(page: Page, *files: Path) -> None:
    """Choose files."""
    page.locator("#files").set_input_files(files)


def card(page: Page, name: str) -> Locator:
    """The card of a file, once it is complete."""
    found = page.get_by_role("article", name=name)
    expect(found).not_to_have_attribute("aria-busy", "true")
    return found


def labels(found: Locator) -> list[str]:
    """The classes on a card, the likeliest first."""
    return found.locator(".bar-label").all_inner_texts()
