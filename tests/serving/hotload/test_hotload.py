"""Versions that are loaded while others answer, in a process that may hang, die or be cut off."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from clients.client import ClassifierClient
from clients.errors import ClassifierError
from clients.types import Prediction
from serving.backends.backend import predict
from serving.config import ServingConfig
from serving.hotload.process import HotLoad
from serving.loading import load_model
from serving.metrics import Metrics
from tests.support.bundles import spoil, write_bundle
from tests.support.paths import SHIPPED
from tests.support.process import Server, ready, serve_repository, start_repository

QUICK = ("--instances", "1", "--buckets", "1,2", "--model-control", "explicit")
Patient = tuple[Server, ClassifierClient]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with tiny/1 and tiny/2."""
    for version in "12":
        write_bundle(tmp_path, version=version)
    return tmp_path


@contextmanager
def serving_first(root: Path, *flags: str) -> Iterator[Patient]:
    """Run a server that answers from tiny/1."""
    policy = ("--version-policy", "tiny=1", "--load-model", "tiny")
    with (
        serve_repository(root, *QUICK, *policy, *flags) as server,
        ClassifierClient(server.grpc) as client,
    ):
        yield server, client


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    """A server that answers from tiny/1, and has more versions: 3 does not prove itself, nor 4."""
    root = tmp_path_factory.mktemp("models")
    written = [write_bundle(root, version=version) for version in "12345"]
    spoil(written[2])
    (written[3] / "model.onnx").write_bytes(b"damaged")
    with serving_first(root) as (server, client):
        yield server, client


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """An image of the tiny model's."""
    return write_bundle(tmp_path / "other") / "golden/ant_0.png"


def until(found: Callable[[], object]) -> None:
    """Wait until something in other processes is so, for at most a minute."""
    end = time.monotonic() + 60
    while not found():
        assert time.monotonic() < end
        time.sleep(0.001)


def loaders(server: int) -> list[int]:
    """Return the numbers of the processes that load for a server."""
    numbers = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]
    return [n for n in numbers if b"serving.hotload.worker" in command(n) and parent(n) == server]


def command(process: int) -> bytes:
    """Return the command line of a process; empty if it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


def parent(process: int) -> int:
    """Return the number of a process's parent; 0 if it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def held(server: int) -> int:
    """Return the number of the process that loads, once there is one, and let it go no further."""
    until(lambda: loaders(server))
    [loader] = loaders(server)
    os.kill(loader, signal.SIGSTOP)
    return loader


@contextmanager
def loading(client: ClassifierClient, version: str) -> Iterator[Callable[[], str]]:
    """Have a version loaded; yield what waits for the end and returns why it failed."""
    with ThreadPoolExecutor(1) as threads:
        load = threads.submit(client.load_model, "tiny", version=version)

        def refused() -> str:
            with pytest.raises(ClassifierError) as failed:
                load.result(60)
            return failed.value.message

        yield refused


def answering(client: ClassifierClient, photo: Path, version: str) -> str:
    """Have a version answer; return which one has."""
    [answer] = client.classify([photo], model="tiny", version=version)
    assert isinstance(answer, Prediction)
    return answer.version


def test_a_load_disturbs_nobody_and_the_new_version_answers(patient: Patient, photo: Path) -> None:
    server, client = patient
    ended, answers = threading.Event(), list[Prediction | ClassifierError]()

    def ask() -> None:
        with ClassifierClient(server.grpc) as own:
            while not ended.is_set():
                answers.extend(own.classify([photo]))

    with ThreadPoolExecutor(2) as threads:
        asking = [threads.submit(ask) for _ in range(2)]
        client.load_model("tiny", version="2")
        ended.set()
        for one in asking:
            one.result(60)
    assert answering(client, photo, "2") == "2"
    until(lambda: not loaders(server.process.pid))
    assert len(answers) > 10
    assert all(isinstance(one, Prediction) for one in answers)


def test_it_runs_on_what_is_left_and_its_death_is_told(patient: Patient, photo: Path) -> None:
    server, client = patient
    with loading(client, "5") as refused:
        loader = held(server.process.pid)
        until(lambda: os.sched_getscheduler(loader) == os.SCHED_IDLE)
        os.kill(loader, signal.SIGKILL)
        told = "was ended by signal 9 (Killed), as the kernel does when memory runs out"
        assert told in refused()
    [state] = [one for one in client.list_versions() if one.version == "5"]
    assert state.state == "UNAVAILABLE"
    assert told in state.reason
    assert answering(client, photo, "1") == "1"
    client.load_model("tiny", version="5")
    assert answering(client, photo, "5") == "5"


@pytest.mark.parametrize(
    ("version", "why"),
    [("3", "probabilities of golden image"), ("4", "changed since it was sealed: model.onnx")],
)
def test_one_that_is_not_what_it_was_leaves_all_as_it_was(
    patient: Patient, photo: Path, version: str, why: str
) -> None:
    _, client = patient
    with loading(client, version) as refused:
        assert why in refused()
    assert answering(client, photo, "1") == "1"


def test_one_that_hangs_is_given_up_and_keeps_nobody_waiting(root: Path) -> None:
    with serving_first(root, "--load-timeout-s", "2") as (server, client):
        with loading(client, "2") as refused:
            loader = held(server.process.pid)
            assert "was not loaded and proved within --load-timeout-s 2" in refused()
        until(lambda: not command(loader))
        client.unload_model("tiny", version="1")


def test_a_signal_ends_a_load_and_the_server(root: Path) -> None:
    with serving_first(root) as (server, client), loading(client, "2") as refused:
        loader = held(server.process.pid)
        server.process.send_signal(signal.SIGTERM)
        assert "draining" in refused()
        until(lambda: not command(loader))
        assert server.process.wait(60) == 0


def test_a_load_does_not_outlive_a_server_that_is_killed(root: Path) -> None:
    process = start_repository(root, *QUICK)
    with ClassifierClient(ready(process).grpc) as client, loading(client, "2") as refused:
        loader = held(process.pid)
        process.kill()
        assert refused()
        process.communicate()
        os.kill(loader, signal.SIGCONT)
        until(lambda: not command(loader))


@pytest.mark.parametrize("settings", [{}, {"threads": 2}, {"runtime": "openvino"}])
def test_it_computes_what_a_load_in_the_server_does_bit_by_bit(settings: dict[str, object]) -> None:
    config = ServingConfig.model_validate(
        {"model": [SHIPPED], "buckets": (1, 8), "tuned": "off", **settings}
    )
    hot = HotLoad(SHIPPED, config, lambda: True)
    try:
        bundle = hot.open()
        proved = hot.load(Metrics(CollectorRegistry()))
    finally:
        hot.close()
    usual = load_model(SHIPPED, config, Metrics(CollectorRegistry()))
    assert proved.bundle == usual.bundle == bundle
    assert (proved.placement, proved.buckets) == (usual.placement, usual.buckets)
    crop = bundle.manifest.transform.crop
    shape = (9, crop.height, crop.width, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for buckets in ([1], [8]):
        backends = [model.open_another(buckets) for model in (proved, usual)]
        one, other = (predict(backend, buckets, pixels) for backend in backends)
        np.testing.assert_array_equal(one, other)
        for backend in backends:
            backend.close()
    for model in (proved, usual):
        model.close()
