"""The command line of a benchmark, as it is ended from outside."""

import subprocess
import sys

import psutil

from tests.support.paths import ROOT

# Stands for a server: it says where it listens, and then does nothing.
BENCHMARK = """
import signal, sys
from benchmarks.command import Benchmark, configured, start
from benchmarks.server import listening

LINES = "print('gRPC  a:1'); print('HTTP  http://a:2', flush=True)"
SERVER = f"import signal; {LINES}; signal.pause()"

class Waits(Benchmark):
    model_config = configured("benchmarks.waits")

    def run(self) -> None:
        with listening([sys.executable, "-c", SERVER]):
            print("ready", flush=True)
            signal.pause()

start(Waits)
"""


def test_a_server_ends_with_the_benchmark_that_is_terminated() -> None:
    command = [sys.executable, "-c", BENCHMARK]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        [server] = psutil.Process(process.pid).children()
        process.terminate()
        assert process.wait(60) == 143
        assert not server.is_running()
