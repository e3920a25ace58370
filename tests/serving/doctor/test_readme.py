"""What the README shows of the doctor."""

import json
import re
import shlex
import subprocess
import sys

import pytest

from serving.doctor.command import SUBJECTS
from tests.support.paths import ROOT

PAGE = (ROOT / "serving/README.md").read_text()


def test_it_names_every_check_in_order() -> None:
    [section] = re.findall(r"\n## Before going live\n(.*?)\n## ", PAGE, re.DOTALL)
    assert re.findall(r"^\| ([a-z ]+) \|", section, re.MULTILINE) == [
        "check",
        *(subject.replace("_", " ") for subject in SUBJECTS),
    ]


@pytest.mark.slow
def test_its_command_runs() -> None:
    [command] = re.findall(r"^    python (-m serving doctor .*)$", PAGE, re.MULTILINE)
    free = ["--grpc-port", "0", "--http-port", "0", "--json"]
    words = [sys.executable, *shlex.split(command), *free]
    done = subprocess.run(words, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout
    assert {line["status"] for line in json.loads(done.stdout)} <= {"ok", "warn"}
