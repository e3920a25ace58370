"""A translated page says what the page says: section by section, in the same tables and code."""

import re
from collections.abc import Iterator

import pytest

from tests.support.paths import ROOT

PAIRS = [
    ("README.md", "README_CN.md"),
    ("training/README.md", "training/README_CN.md"),
]
BLOCK = re.compile(r"```.*?```", re.DOTALL)


def sections(page: str) -> list[str]:
    """Return what stands before the first heading of level 2, and what follows each of them."""
    return re.split(r"^## ", (ROOT / page).read_text(), flags=re.MULTILINE)


def outline(section: str) -> Iterator[str]:
    """Yield what a translation leaves as it is: headings, items, rows of tables, places of code."""
    for line in BLOCK.sub("```", section).splitlines():
        if found := re.match(r"#+ |- |```", line):
            yield found[0]
        elif line.startswith("|"):
            yield "|" * line.count("|")


def code(section: str) -> list[str]:
    """Return the code blocks, without their comments."""
    return [re.sub(r" *# .*", "", block) for block in BLOCK.findall(section)]


def words(section: str) -> set[str]:
    """Return the names of files, flags and values in the text."""
    return set(re.findall(r"`([^`\n]+)`", BLOCK.sub("", section)))


@pytest.mark.parametrize(("page", "translation"), PAIRS)
def test_a_translation_has_the_same_sections_tables_and_code(page: str, translation: str) -> None:
    pairs = list(zip(sections(page), sections(translation), strict=True))
    for original, translated in pairs:
        heading = original.partition("\n")[0]
        assert list(outline(translated)) == list(outline(original)), heading
        assert code(translated) == code(original), heading
        assert words(translated) == words(original), heading
