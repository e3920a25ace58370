"""`python -m export.schemas [FOLDER]`: the JSON Schemas of a bundle's files, into `docs/`."""

import json
import sys
from pathlib import Path

from pydantic import BaseModel

from bundle.golden import GoldenSet
from bundle.manifest import Manifest
from export.parity_record import Parity

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SCHEMAS: dict[str, type[BaseModel]] = {
    "manifest.schema.json": Manifest,
    "golden.schema.json": GoldenSet,
    "parity.schema.json": Parity,
}


def schema(model: type[BaseModel]) -> str:
    """Return the JSON Schema of a file that the model reads."""
    return json.dumps({"$schema": DIALECT} | model.model_json_schema(), indent=2) + "\n"


def write(folder: Path) -> None:
    """Write all schemas into a folder."""
    for name, model in SCHEMAS.items():
        (folder / name).write_text(schema(model))


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    if not folder.is_dir():
        sys.exit(f"there is no folder {folder}; usage: python -m export.schemas [FOLDER]")
    write(folder)
