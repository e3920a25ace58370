"""The image's recipe. `make container-check` builds it, which takes minutes and root."""

import ast
import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.paths import ROOT, SHIPPED
from tests.support.process import serve

FOLDER = ROOT / "deploy/container"
RECIPE = (FOLDER / "Containerfile").read_text()
BIN = Path(sys.executable).parent
COPIED = re.findall(r"^COPY (\w+) \1$", RECIPE, re.MULTILINE)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OURS = set(PROJECT["tool"]["ruff"]["lint"]["isort"]["known-first-party"])


def tracked(*paths: str) -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", *paths], cwd=ROOT, text=True, capture_output=True, check=True
    )
    return [Path(line) for line in done.stdout.splitlines()]


def test_linters_find_nothing() -> None:
    subprocess.run([BIN / "hadolint", FOLDER / "Containerfile"], check=True)
    subprocess.run([BIN / "shellcheck", FOLDER / "check"], check=True)


def test_what_is_copied_is_there() -> None:
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", RECIPE, re.MULTILINE)
    sources = [word for line in lines for word in line.split()]
    assert {"serving", "pyproject.toml", "requirements/build.txt"} <= set(sources)
    for lock in ("serving", "cuda"):
        assert all((ROOT / source.replace("${LOCK}", lock)).exists() for source in sources)


def test_the_server_imports_nothing_that_is_left_out() -> None:
    assert "serving" in COPIED
    for path in tracked(*(f"{folder}/*.py" for folder in COPIED)):
        imported = {name.split(".")[0] for name in _imports(ROOT / path)} & OURS
        # The command for the load tester says itself that it needs a checkout.
        allowed = set(COPIED) | ({"benchmarks"} if path.parts[0] == "clients" else set())
        assert imported <= allowed, path


def _imports(path: Path) -> list[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return names + [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]


def test_files_that_are_no_modules_are_installed_too() -> None:
    data = PROJECT["tool"]["setuptools"]["package-data"]
    for path in tracked(*COPIED):
        if path.suffix in (".py", ".pyi", ".md", ".proto"):
            continue
        inside = "/".join(path.parts[1:])
        patterns = data["*"] + data.get(path.parts[0], [])
        assert any(fnmatch.fnmatch(name, p) for p in patterns for name in (inside, path.name)), path


@pytest.fixture(scope="module")
def flags_of_tls(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    certificate, key = Authority().issue().write(tmp_path_factory.mktemp("tls"))
    return ["--tls-cert", str(certificate), "--tls-key", str(key)]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_health_check_passes_for_a_server_that_is_ready(
    scheme: str, flags_of_tls: list[str]
) -> None:
    flags = flags_of_tls if scheme == "https" else []
    with serve(SHIPPED, *flags) as server:
        variables = {"SERVING_HTTP_PORT": server.http.rpartition(":")[2]}
        if flags:
            variables["SERVING_TLS_CERT"] = flags[1]
        subprocess.run([sys.executable, FOLDER / "health.py"], env=variables, check=True)


def test_the_health_check_fails_where_no_server_is() -> None:
    command = [sys.executable, FOLDER / "health.py"]
    done = subprocess.run(
        command, env={"SERVING_HTTP_PORT": "1"}, stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == 1
    assert "http://127.0.0.1:1/readyz: " in done.stderr
