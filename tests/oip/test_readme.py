"""What the READMEs show for clients of others, and for curl."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.foreign import foreign
from tests.support.paths import ROOT, SAMPLES
from tests.support.process import Server

SERVING = ROOT / "serving/README.md"


def blocks(page: Path, language: str) -> list[str]:
    """Return the page's code blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "README_CN.md", SERVING])
def test_tritonclient(page: Path, server: Server) -> None:
    [program] = [code for code in blocks(page, "python") if "tritonclient" in code]
    done = foreign("-c", program.replace("localhost:50051", server.grpc), cwd=ROOT)
    assert done.returncode == 0, done.stderr
    [file] = re.findall(r"images/([a-z_]+)_\d+\.png", program)
    [_, _, label] = re.search(r"b['\"](.*?)['\"]", done.stdout)[1].split(":")  # type: ignore[index]
    assert file == label.lower().replace(" ", "_")


def ended(command: str) -> str:
    """Return a command that ends: events of the page go on for as long as somebody reads them."""
    return command.replace("curl -N ", "! timeout 3 curl -N ")


def test_curl(server: Server, tmp_path: Path) -> None:
    for name in ("cat.jpg", "dog.png"):
        shutil.copy(SAMPLES / "bag_30.png", tmp_path / name)
    shown = blocks(SERVING, "sh")
    assert len(shown) == 4
    for command in [server.curl.replace("models/", f"{ROOT}/models/"), *shown]:
        address = server.http.removeprefix("http://")
        done = subprocess.run(
            ["bash", "-euc", ended(command).replace("localhost:8080", address)],
            cwd=tmp_path,
            text=True,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        assert "fashion_resnext" in done.stdout
        assert '"error":' not in done.stdout
