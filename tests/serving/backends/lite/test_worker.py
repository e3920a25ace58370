"""The worker's process by itself, with a library that hangs."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from serving.backends.lite.process import WORKER
from serving.backends.lite.worker import PROTOCOL

HANGING = "import time; print('busy', flush=True); time.sleep(600)"


def test_a_worker_that_hangs_ends_with_its_server(tmp_path: Path) -> None:
    (tmp_path / "mindspore_lite.py").write_text(HANGING)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        worker = subprocess.Popen(
            [sys.executable, WORKER, str(theirs.fileno()), "0"],
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            stdout=subprocess.PIPE,
            pass_fds=(theirs.fileno(),),
        )
        assert worker.stdout
        ours.send(json.dumps({"protocol": PROTOCOL}).encode())
        assert worker.stdout.readline() == b"busy\n"
    with worker:
        try:
            worker.wait(30)
        finally:
            worker.kill()
