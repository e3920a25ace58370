"""The JSON Schemas in docs/ say what the code reads."""

from pathlib import Path

import pytest

from export.schemas import SCHEMAS, schema, write
from tests.support.paths import ROOT

DOCS = ROOT / "docs"


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_is_fresh(name: str) -> None:
    assert (DOCS / name).read_text() == schema(SCHEMAS[name]), "run: make schemas"


def test_all_schemas_are_written(tmp_path: Path) -> None:
    write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(SCHEMAS)
