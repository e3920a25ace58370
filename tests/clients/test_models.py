"""`python -m clients models`, and the calls behind it, against a real server."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from clients import AsyncClassifierClient, ClassifierClient, ClassifierError, VersionState
from tests.support.bundles import spoil, write_bundle
from tests.support.paths import ROOT
from tests.support.process import Server, serve_repository


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    for version in ("1", "2"):
        write_bundle(root, version=version)
    spoil(write_bundle(root, version="3"))
    flags = ("--model-control", "explicit", "--instances", "1", "--buckets", "1")
    with serve_repository(root, *flags) as server:
        yield server


def models(server: Server, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "clients", "models", *words, "--address", server.grpc]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)


def listed(server: Server) -> dict[str, str]:
    lines = map(json.loads, models(server, "list", "--json").stdout.splitlines())
    return {line["version"]: line["state"] for line in lines if line["name"] == "tiny"}


def test_the_command_line(server: Server) -> None:
    failed = models(server, "load", "tiny")
    assert failed.returncode == 1
    assert "FAILED_PRECONDITION: tiny/3 is not loaded: " in failed.stderr
    assert "Traceback" not in failed.stderr
    assert listed(server) == {"1": "UNAVAILABLE", "2": "READY", "3": "UNAVAILABLE"}
    loaded = models(server, "load", "tiny", "--version", "1")
    assert loaded.returncode == 0, loaded.stderr
    assert [line.split()[:3] for line in loaded.stdout.splitlines()[2:4]] == [
        ["tiny", "1", "READY"],
        ["tiny", "2", "READY"],
    ]
    assert models(server, "unload", "tiny", "--version", "2").returncode == 0
    assert listed(server)["2"] == "UNAVAILABLE"
    table = models(server, "list").stdout
    assert table.splitlines()[0].split() == ["Model", "Version", "State", "Why"]
    assert "it was unloaded by a call" in table
    unknown = models(server, "unload", "other")
    assert (unknown.returncode, "no 'other' to unload" in unknown.stderr) == (1, True)


def test_both_clients(server: Server) -> None:
    async def by_the_loop() -> list[VersionState]:
        async with AsyncClassifierClient(server.grpc) as client:
            await client.load_model("tiny", "2")
            await client.unload_model("tiny", "1")
            return await client.list_versions()

    with ClassifierClient(server.grpc) as client:
        client.unload_model("tiny")
        client.load_model("tiny", "1")
        with pytest.raises(ClassifierError, match="has no version '9'"):
            client.load_model("tiny", "9")
        first = client.list_versions()
    second = asyncio.run(by_the_loop())
    assert [one.state for one in first] == ["READY", "UNAVAILABLE", "UNAVAILABLE"]
    assert [one.state for one in second] == ["UNAVAILABLE", "READY", "UNAVAILABLE"]
