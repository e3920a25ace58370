"""`make sbom` and `make audit`, whose tools have an environment of their own."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.requirements.test_locks import pins
from tests.support.paths import ROOT

NAMES = "serving", "clients-newest"


def make(*words: str) -> "subprocess.CompletedProcess[str]":
    # What `make test` itself was told is not meant for what it runs.
    inherited = {k: v for k, v in os.environ.items() if k not in ("ARGS", "MAKEFLAGS")}
    return subprocess.run(
        ["make", *words], cwd=ROOT, env=inherited, text=True, capture_output=True, check=False
    )


def components(path: Path) -> dict[tuple[str, str], int]:
    """Return what a list names: each package, its version, and how many hashes it has."""
    bom = json.loads(path.read_text())
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    assert bom["metadata"]["component"]["name"] == "resnext-serving"
    found = {}
    for component in bom["components"]:
        key = component["name"], component["version"]
        assert component["purl"] == f"pkg:pypi/{key[0]}@{key[1]}"
        [source] = component["externalReferences"]
        assert {each["alg"] for each in source["hashes"]} == {"SHA-256"}
        found[key] = len(source["hashes"])
    return found


@pytest.mark.slow
def test_the_list_of_parts_is_that_of_the_lock() -> None:
    for name in NAMES:
        (ROOT / f"build/sbom/{name}.json").unlink(missing_ok=True)
    done = make("sbom", f"LOCKS={' '.join(NAMES)}")
    assert done.returncode == 0, done.stderr
    for name in NAMES:
        locked = {(package, version): hashes for package, version, hashes in pins(name)}
        assert components(ROOT / f"build/sbom/{name}.json") == locked


@pytest.mark.slow
def test_an_audit_that_reaches_nobody_does_not_pass() -> None:
    done = make("audit", "LOCKS=protos", "ARGS=--service osv --osv-url http://127.0.0.1:9/")
    assert done.returncode != 0
    assert "error: the audit has failed: " in done.stderr
    assert "No known vulnerabilities" not in done.stdout + done.stderr
