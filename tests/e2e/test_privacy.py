"""Which files our programs leave in the home folder, and which names they look up: none."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.floor import bare_loop
from benchmarks.floor_network import Way
from tests.support.paths import SAMPLES, SHIPPED
from tests.support.process import run, serve

# ONNX Runtime's first report is due 9 s after its import.
WATCH_S = 12.0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of the programs that a test starts."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(home))
    # With CI=true, ONNX Runtime keeps quiet of itself.
    for name in ("ORT_DISABLE_TELEMETRY", "CI"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def look_ups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipe that a program opens, and waits at, when it looks up its first name.

    glibc reads this file then, for how to look up names, whichever library asks.
    """
    pipe = tmp_path / "host.conf"
    os.mkfifo(pipe)
    monkeypatch.setenv("RESOLV_HOST_CONF", str(pipe))
    return pipe


def test_the_pipe_tells_of_a_look_up(look_ups: Path) -> None:
    program = "import socket; socket.getaddrinfo('localhost', 80)"
    with subprocess.Popen([sys.executable, "-c", program]) as asking:
        look_ups.open("w").close()  # returns when the program has opened it, too
    assert asking.returncode == 0


@pytest.mark.slow
def test_no_program_calls_home(home: Path, look_ups: Path, tmp_path: Path) -> None:
    with (
        serve(SHIPPED) as server,
        serve(SHIPPED, "--runtime", "openvino"),
        bare_loop(SHIPPED, str(SAMPLES)) as loop,
    ):
        loop.measure(Way(runtime="openvino", workers=1, threads=1, batch=1), seconds=0.1)
        began = time.monotonic()
        run("export", "verify", SHIPPED)
        run("clients", "classify", SAMPLES, "--address", server.grpc)
        time.sleep(max(0.0, WATCH_S - (time.monotonic() - began)))
        with pytest.raises(OSError, match="No such device"):  # nobody waits at the other end
            os.open(look_ups, os.O_WRONLY | os.O_NONBLOCK)
    assert not list(home.rglob("*"))
