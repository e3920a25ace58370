"""`python -m clients models label`, and the clients' own calls, against a real server."""

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from clients import AsyncClassifierClient, ClassifierClient, ClassifierError, VersionLabel
from serving.server import Server
from tests.support.bundles import write_bundle
from tests.support.paths import ROOT
from tests.support.serving import repository_server

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server of two versions."""
    folder = tmp_path_factory.mktemp("repository")
    for version in ("1", "2"):
        write_bundle(folder, version=version)
    async with repository_server(folder, version_policy="all") as running:
        yield running


async def label(server: Server, *words: str) -> tuple[int, str, str]:
    """Run the command; return its exit code and what it prints, without the spaces of a table."""
    address = f"localhost:{server.grpc.port}"
    command = ["-m", "clients", "models", "label", *words, "--address", address]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=ROOT, stdout=-1, stderr=-1
    )
    printed, complaint = await process.communicate()
    rows = "\n".join(" ".join(line.split()) for line in printed.decode().splitlines()[2:])
    assert process.returncode is not None
    return process.returncode, rows, complaint.decode()


async def test_a_label_is_set_moved_and_removed(server: Server) -> None:
    assert await label(server, "tiny", "stable", "1") == (0, "stable 1 100%", "")
    expected = "stable 1 87.5%\ncanary 2 12.5%"
    assert await label(server, "tiny", "canary", "2", "--share", "12.5%") == (0, expected, "")
    assert await label(server, "tiny", "stable", "canary") == (
        0,
        "stable 2 87.5%\ncanary 2 12.5%",
        "",
    )
    assert await label(server, "tiny", "canary", "--remove") == (0, "stable 2 100%", "")
    assert await label(server, "tiny", "stable", "--remove") == (0, "", "")


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["tiny", "stable"], 2, "name a version, or give --remove"),
        (["tiny", "stable", "1", "--remove"], 2, "--remove needs no version and no share"),
        (["tiny", "canary", "2", "--share", "10"], 2, "--share: '10' is no share; give one such"),
        (["tiny", "canary", "2", "--share", "101%"], 1, "INVALID_ARGUMENT: a share is above 0%"),
        (["tiny", "stable", "7"], 1, "NOT_FOUND: model 'tiny' has no version '7'; loaded: 1, 2"),
        (["tiny", "stable", "1", "--share", "5%"], 1, "INVALID_ARGUMENT: only canary has a share"),
    ],
)
async def test_what_cannot_be_done_is_one_line(
    server: Server, words: list[str], code: int, complaint: str
) -> None:
    found, _, said = await label(server, *words)
    assert found == code
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert complaint in said


async def test_both_clients_set_labels(server: Server) -> None:
    address = f"localhost:{server.grpc.port}"
    async with AsyncClassifierClient(address) as client:
        stable = VersionLabel("stable", "1", 0.75)
        await client.set_label("tiny", "stable", "1")
        labels = await client.set_label("tiny", "canary", "2", share=0.25)
        assert labels == (stable, VersionLabel("canary", "2", 0.25))
        assert (await client.get_model(version="stable")).version_labels == (stable,)
        assert await client.remove_label("tiny", "canary") == (VersionLabel("stable", "1", 1.0),)

    def block() -> None:
        with ClassifierClient(address) as client:
            assert client.set_label("tiny", "best", "2")[-1] == VersionLabel("best", "2", 0.0)
            assert "best" not in [one.label for one in client.remove_label("tiny", "best")]
            with pytest.raises(ClassifierError, match="has no label 'best'"):
                client.remove_label("tiny", "best")

    await asyncio.to_thread(block)
