"""Triton's load tester measures this server as it measures Triton."""

import base64
import csv
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT, SAMPLES
from tests.support.process import Server

PROGRAM = shutil.which(
    "perf_analyzer", path=os.pathsep.join([str(ROOT / ".venv-oip/bin"), os.environ["PATH"]])
)


@pytest.mark.perf_analyzer
@pytest.mark.skipif(not PROGRAM, reason="no perf_analyzer: its wheel needs glibc 2.38")
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_it_measures(server: Server, protocol: str, tmp_path: Path) -> None:
    assert PROGRAM
    file = next(SAMPLES.glob("*.png")).read_bytes()
    # Its b64 holds the element as on the wire: a length of four bytes, then the file.
    content = base64.b64encode(len(file).to_bytes(4, "little") + file).decode()
    data, table = tmp_path / "data.json", tmp_path / "table.csv"
    data.write_text(json.dumps({"data": [{"images": {"content": {"b64": content}, "shape": [1]}}]}))
    address = server.grpc if protocol == "grpc" else server.http.removeprefix("http://")
    command = [PROGRAM, "-m", "fashion_resnext", "-i", protocol, "-u", address]
    flags = ["--input-data", data, "--concurrency-range", "2", "-b", "4", "-f", table]
    window = ["--measurement-mode", "count_windows", "--measurement-request-count", "20"]
    stable = ["--stability-percentage", "999", "--max-trials", "3"]
    done = subprocess.run(
        [*command, *flags, *window, *stable], text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [row] = csv.DictReader(table.read_text().splitlines())
    assert float(row["Inferences/Second"]) > 0
    # It asks for statistics, so these are the server's own times.
    assert float(row["Server Compute Infer"]) > 0
