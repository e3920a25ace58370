"""A real Prometheus on a free port, and questions to it."""

import json
import re
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

Series = dict[str, object]


class Prometheus:
    """Its HTTP API; `url` ends without a slash."""

    def __init__(self, url: str) -> None:
        self._url = url

    def query(self, expression: str) -> list[Series]:
        """Return the series that an instant query gives; a bad query raises."""
        parameters = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self._url}/api/v1/query?{parameters}") as answer:
            return json.load(answer)["data"]["result"]

    def until(self, expression: str, *, timeout_s: float = 60) -> list[Series]:
        """Ask until the query gives series: it is Prometheus' own clock that decides when."""
        deadline = time.monotonic() + timeout_s
        while not (series := self.query(expression)):
            assert time.monotonic() < deadline, f"{expression} gave nothing in {timeout_s} s"
            threading.Event().wait(0.1)
        return series


@contextmanager
def prometheus(config: Path, data: Path) -> Iterator[Prometheus]:
    """Run Prometheus with this configuration on a free port; it ends with the context."""
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}"]
    process = subprocess.Popen(
        [*command, "--web.listen-address=127.0.0.1:0"], stderr=subprocess.PIPE, text=True
    )
    try:
        yield Prometheus(f"http://{_address(process)}")
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _address(process: "subprocess.Popen[str]") -> str:
    """Return its address once it answers; it says both in either order, from two of its threads."""
    said, address, is_ready = "", "", False
    for line in process.stderr or ():
        said += line
        if found := re.search(r'msg="Listening on" address=(\S+)', line):
            address = found[1]
        is_ready |= "ready to receive web requests" in line
        if address and is_ready:
            return address
    raise AssertionError(f"Prometheus ended with {process.wait()}: {said}")
