"""A real server looks at its repository on SIGHUP and at intervals."""

import asyncio
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from clients.client import ClassifierClient
from serving.config import ServingConfig
from serving.repository.control import Control
from serving.repository.triggers import watch
from tests.support.bundles import write_bundle
from tests.support.process import ready, start_repository

QUICK = ("--instances", "1", "--buckets", "1", "--runtime", "onnxruntime")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with tiny/1."""
    write_bundle(tmp_path / "models")
    return tmp_path / "models"


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr
    assert any(text in line for line in process.stderr), f"no line says {text!r}"


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in errors


def newest(address: str) -> str:
    with ClassifierClient(address) as client:
        return client.get_model("tiny").version


def test_sighup_makes_it_look(root: Path) -> None:
    process = start_repository(root, *QUICK)
    server = ready(process)
    write_bundle(root, version="2")
    assert newest(server.grpc) == "1"
    process.send_signal(signal.SIGHUP)
    wait_for(process, "tiny/1: unloaded")
    assert newest(server.grpc) == "2"
    end(process)


def test_it_looks_at_intervals_when_it_polls(root: Path) -> None:
    process = start_repository(
        root, *QUICK, "--model-control", "poll", "--repository-poll-s", "0.1"
    )
    server = ready(process)
    write_bundle(root, version="2")
    wait_for(process, "tiny/1: unloaded")
    assert newest(server.grpc) == "2"
    end(process)


def test_explicit_control_tells_that_sighup_is_for_others(root: Path) -> None:
    process = start_repository(root, *QUICK, "--model-control", "explicit")
    ready(process)
    process.send_signal(signal.SIGHUP)
    wait_for(process, "only calls load and unload")
    end(process)


@pytest.mark.parametrize("control", ["explicit", "none"])
async def test_a_look_that_fails_is_not_the_last(control: str, tmp_path: Path) -> None:
    looks, asked = asyncio.Semaphore(0), asyncio.Event()

    async def fail(**_: object) -> None:
        looks.release()
        raise RuntimeError("as a test")

    failing = cast("Control", SimpleNamespace(relabel=fail, rescan=fail))
    config = ServingConfig(repository=tmp_path, model_control=control)
    watching = asyncio.create_task(watch(failing, config, asked))
    for _ in range(2):
        asked.set()
        await asyncio.wait_for(looks.acquire(), 60)
    watching.cancel()


def test_an_empty_repository_waits_for_its_first_model(root: Path) -> None:
    tiny = (root / "tiny").rename(root.with_name("tiny"))
    process = start_repository(
        root, *QUICK, "--model-control", "poll", "--repository-poll-s", "0.1"
    )
    server = ready(process)
    tiny.rename(root / "tiny")
    wait_for(process, "tiny/1 answers")
    assert newest(server.grpc) == "1"
    end(process)
