from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from serving.doctor.config import DoctorConfig
from serving.doctor.finding import Case, Finding
from serving.doctor.load import Failed, Loaded

Checked = Callable[..., list[Finding]]
MIB = 2**20


def loaded(**others: object) -> Loaded:
    """Return what the load of a small model may have shown."""
    given = {
        "path": Path("tiny/1"),
        "name": "tiny",
        "version": "1",
        "images_per_s": 100.0,
        "program_bytes": 50 * MIB,
        "loaded_bytes": 100 * MIB,
        "peak_bytes": 150 * MIB,
        "address_bytes": 1000 * MIB,
        "shared_bytes": 0,
        "slot_bytes": 768,
        "decoders": 4,
        "threads": 8,
        "log": {},
        "warnings": [],
    }
    return Loaded(**given | others)  # type: ignore[arg-type]


@pytest.fixture
def checked(tmp_path: Path) -> Checked:
    """Run one check, of a server on free ports; nothing is loaded, unless `loads` says so."""

    def run(
        subject: str, loads: "list[Loaded | Failed] | None" = None, **settings: object
    ) -> list[Finding]:
        given = {"model": ["bundle"], "grpc_port": 0, "http_port": 0, "tuned": "off", **settings}
        case = Case(DoctorConfig.model_validate(given), root=tmp_path)
        case.__dict__["loads"] = loads or []
        return [*import_module(f"serving.doctor.{subject}").check(case)]

    return run


def write(root: Path, files: dict[str, str]) -> None:
    """Write the files of a made-up /proc or /sys."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
