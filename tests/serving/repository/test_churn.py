"""What a server has taken when models have come and gone: nothing. And what a killed one leaves."""

import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median

import pytest

from clients.client import ClassifierClient
from clients.types import Prediction
from tests.support.bundles import copy_bundle, write_bundle
from tests.support.paths import SAMPLES, SHIPPED
from tests.support.process import Server, ready, serve_repository, start_repository

NAME = "fashion_resnext"
CYCLES = 100
# glibc gives each new thread one of its heaps, which reach their size in these.
WARM_UP_CYCLES = 30
# By what that is left to chance, memory differs from one cycle to the next.
COMPARED = 10


@pytest.fixture
def explicit(tmp_path: Path) -> Iterator[Server]:
    """A server that has loaded nothing yet."""
    copy_bundle(SHIPPED, tmp_path, "1")
    with serve_repository(tmp_path, "--model-control", "explicit", "--buckets", "1,8") as server:
        yield server


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something in another process, for at most a minute."""
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def memory_kib(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def descriptors(server: Server) -> int:
    return len([*Path(f"/proc/{server.process.pid}/fd").iterdir()])


def threads(server: Server) -> int:
    return len([*Path(f"/proc/{server.process.pid}/task").iterdir()])


def series(server: Server) -> int:
    text = urllib.request.urlopen(f"{server.http}/metrics").read().decode()
    return sum(not line.startswith("#") for line in text.splitlines())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_100_loads_and_unloads_leave_nothing_behind(explicit: Server) -> None:
    images = sorted(SAMPLES.glob("*.png"))
    with ClassifierClient(explicit.grpc) as client:

        def cycle() -> int:
            client.load_model(NAME)
            assert all(isinstance(one, Prediction) for one in client.classify(images))
            client.unload_model(NAME)
            return memory_kib(explicit)

        before = [cycle() for _ in range(WARM_UP_CYCLES)][-COMPARED:]
        counts, most_threads = (descriptors(explicit), series(explicit)), threads(explicit)
        after = [cycle() for _ in range(CYCLES - WARM_UP_CYCLES)][-COMPARED:]
        # A thread that has done its work may be about to end.
        wait_until(lambda: threads(explicit) <= most_threads)
        assert (descriptors(explicit), series(explicit)) == counts
        assert median(after) <= 1.05 * median(before)


@pytest.mark.slow
def test_a_server_that_is_killed_in_mid_load_starts_again_whole(tmp_path: Path) -> None:
    copy_bundle(SHIPPED, tmp_path, "1")
    flags = ("--model-control", "poll", "--repository-poll-s", "0.1", "--buckets", "1,8")
    process = start_repository(tmp_path, *flags)
    ready(process)
    copy_bundle(SHIPPED, tmp_path, "2")
    assert process.stderr
    assert any(f"{NAME}/2: loading" in line for line in process.stderr)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    with serve_repository(tmp_path, *flags) as server, ClassifierClient(server.grpc) as client:
        assert client.get_model().version == "2"


def test_threads_that_stay_after_a_load_have_the_usual_priority(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    # Two instances of one thread, so that batches may run wide, on threads of their own.
    flags = ("--buckets", "1", "--instances", "2", "--background-threads", "1")
    explicit = ("--model-control", "explicit")
    with serve_repository(tmp_path, *flags, *explicit) as server:
        before = _priorities(server)
        with ClassifierClient(server.grpc) as client:
            client.load_model("tiny")

        def new() -> list[int]:
            after = _priorities(server)
            return [nice for thread, nice in after.items() if thread not in before]

        # The one that decodes what is slow to decode has the lowest by design.
        wait_until(lambda: new().count(19) == 1)
        assert len(new()) > 3


def _priorities(server: Server) -> dict[str, int]:
    """Return the niceness of each thread, by its number."""
    found: dict[str, int] = {}
    for task in Path(f"/proc/{server.process.pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
            found[task.name] = int((task / "stat").read_text().rpartition(")")[2].split()[16])
    return found
