"""OpenVINO does not call home: what would report is not even imported."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

IMPORT = """
import sys
from serving.backends.openvino.library import openvino
openvino.Core().available_devices
print([name for name in sys.modules if "telemetry" in name and sys.modules[name]])
"""


def test_nothing_reports_and_nothing_is_left_in_the_home_folder(tmp_path: Path) -> None:
    # Nothing else: with CI set, OpenVINO keeps quiet of itself.
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT],
        cwd=ROOT,
        env=environment,
        text=True,
        capture_output=True,
        check=True,
    )
    assert done.stdout == "[]\n"
    assert not list(tmp_path.iterdir())
