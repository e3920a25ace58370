"""The lock files: every package with its hashes, and the same one wherever it is needed."""

import re
import subprocess
import tomllib
from collections.abc import Iterator

import pytest

from tests.support.paths import ROOT

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[^\s;]+)(?: ; [^\\]+)?")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
PIP = re.compile(r" pip (?:--python \S+ )?install ")
# What stands beside other packages than the tests: an application's, a tool's, Python 3.7's.
ALONE = {
    "clients-oldest",
    "clients-newest",
    "oip",
    "protos",
    "audit",
    "docs",
    "helm",
    "lite",
    "torch",
    "torch-cpu",
}


def pins(name: str) -> Iterator[tuple[str, str, int]]:
    """Yield what a lock pins: a package, its version, and how many hashes it may have."""
    text = (ROOT / f"requirements/{name}.txt").read_text().replace("\\\n", "")
    for line in text.splitlines():
        requirement, *hashes = line.split("    ")
        pin = PIN.fullmatch(requirement.rstrip())
        assert pin, requirement
        assert all(HASH.fullmatch(word.strip()) for word in hashes), requirement
        yield pin["name"], pin["version"], len(hashes)


@pytest.mark.parametrize("name", [lock.stem for lock in LOCKS])
def test_every_package_has_a_hash(name: str) -> None:
    assert [package for package, _, hashes in pins(name) if not hashes] == []


def test_the_tests_run_with_what_users_get() -> None:
    tested = {(package, version) for package, version, _ in pins("dev")}
    names = {package for package, _ in tested}
    for lock in LOCKS:
        if lock.stem not in ALONE:
            found = {(package, version) for package, version, _ in pins(lock.stem)}
            assert {pin for pin in found if pin[0] in names} <= tested


def test_what_builds_this_project_is_locked_too() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["build-system"]["requires"] == project["dependency-groups"]["build"]


def test_make_installs_only_what_is_locked() -> None:
    alone = (
        "-protos/.protos -clients-oldest/.clients -oip/.oip -docs/.docs -demo/.demo -audit/.audit "
        "-lite/.lite -helm/bin/helm"
    )
    targets = [f".venv{environment}" for environment in ["/.dev", "-cuda/.cuda", *alone.split()]]
    command = ["make", "--dry-run", "--always-make", *targets, "PYTHON37=python3.7"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True)
    lines = done.stdout.replace("\\\n", "").splitlines()
    installs = [words.split() for line in lines for words in PIP.split(line)[1:]]
    itself = ["--no-deps", "--no-build-isolation", "--editable", "."]
    of_locks = [words for words in installs if words[-4:] != itself]
    assert len(of_locks) == len(targets)
    assert all("--require-hashes" in words for words in of_locks)
